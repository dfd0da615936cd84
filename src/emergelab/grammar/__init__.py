"""Grammars: notation and checks, languages with their worlds drawn, hold-outs and tasks."""
