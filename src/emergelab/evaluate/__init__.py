"""Evaluation: predictors asked for answers, generations and losses."""
