"""Skills of systems: competence, composition and emergence, from a table of outcomes."""
