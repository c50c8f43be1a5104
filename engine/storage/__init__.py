"""What a run leaves on disk, and how it stays whole. Importing this package imports no torch."""
