"""One run: its recipe, its loop, its log and its result."""
