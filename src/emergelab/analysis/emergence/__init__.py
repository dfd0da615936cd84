"""What emerges with scale: thresholds, sharpness, and whether a curve jumps or only its metric does."""
