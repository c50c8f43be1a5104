"""The formats of a table: text, LaTeX, HTML, plots, TensorBoard."""
