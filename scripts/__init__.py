"""The doors: what is run from the command line, and what all doors share."""
