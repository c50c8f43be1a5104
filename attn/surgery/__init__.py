"""Attention in networks of other authors: find the blocks, then attach the modules."""
