"""What theory predicts: the ideal predictor, bounds on in-context learning. Free of torch, never imported by what measures."""
