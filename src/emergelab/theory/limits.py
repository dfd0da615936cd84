"""How much is weighed if nobody says otherwise."""

HYPOTHESES = 100
"""Hypotheses weighed at a time where documents draw functions of their own.

Enough where documents soon tell their functions apart; where they do not, time grows with the number and the limits
narrow slowly: `docs/theory.md` has what was measured.
"""
