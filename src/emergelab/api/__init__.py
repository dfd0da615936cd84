"""What the command line does, for Python. `import emergelab` offers all of it by name."""
