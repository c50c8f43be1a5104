"""The files of a run, and how they stay whole. Importing this package imports no torch."""
