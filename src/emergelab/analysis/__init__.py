"""Analysis: estimates with intervals, and the tables made of them."""
