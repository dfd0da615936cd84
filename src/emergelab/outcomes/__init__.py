"""Results of real models: reading the files that others wrote, and looking at them twice."""
