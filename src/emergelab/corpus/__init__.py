"""Corpora: compiled grammars, labelled documents, prompts with the chance of guessing."""
