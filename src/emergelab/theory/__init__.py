"""What theory predicts of a grammar: the ideal predictor and bounds. What measures never imports it."""
