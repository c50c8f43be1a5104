"""The runs of a table: which there are, training them, measuring their cost."""
