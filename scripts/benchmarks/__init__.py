"""What scripts/speed.py measures."""
