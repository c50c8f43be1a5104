"""The speed of training, and the references to compare it with."""
