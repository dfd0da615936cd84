"""The page of a table of outcomes: faults of data, competence, composition, emergence, and what follows."""
