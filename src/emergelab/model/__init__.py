"""Models: sizes and counts, and the transformer with its hooks and cache."""
