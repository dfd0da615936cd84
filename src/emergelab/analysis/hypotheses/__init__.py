"""Claims that were fixed before the measurement, and what the measurement says of them."""
