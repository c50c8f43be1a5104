"""Finished runs, read from disk and compared. Importing it imports no torch."""
