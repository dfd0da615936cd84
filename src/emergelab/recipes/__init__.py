"""Builders: what a user asks for, as steps of the pipeline."""
