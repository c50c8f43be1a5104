"""The harness: data, recipe, run, the two passes, log and cost. Importing it imports no torch."""
