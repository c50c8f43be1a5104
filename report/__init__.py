"""Read finished runs from disk and compare them. This package does not import torch."""
