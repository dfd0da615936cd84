"""emergelab: when and why in-context learning and skills emerge, measured beside the theory."""

__version__ = "0.1.0"
