"""Training: settings and schedule, the optimiser, the pure step and the loop that survives a kill."""
