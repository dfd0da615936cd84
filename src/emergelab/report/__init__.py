"""The report: figure information, charts, words and the page."""
