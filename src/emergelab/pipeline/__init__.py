"""The pipeline: stored steps, the runner and its workers. It knows no domain."""
