"""The formats a table is written in."""
