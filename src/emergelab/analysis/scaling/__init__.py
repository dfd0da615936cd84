"""Scaling laws fitted to real results, forecasts from them, and how well such forecasts did."""
