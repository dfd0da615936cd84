"""Numba kernels: arrays in, arrays out, no domain types. Each has a slow, obvious twin in the tests."""
