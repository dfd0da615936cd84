"""What is measured and how it is written down: predictors, prompts, item and score schemas."""
