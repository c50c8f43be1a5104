"""How fast training is, and what to compare it with."""
