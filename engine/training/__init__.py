"""One run: its recipe and schedule, its loop, its log and its result."""

from engine.training.recipe import Recipe
from engine.training.schedule import Cosine, Exponential, OneCycle, Step

__all__ = ["Cosine", "Exponential", "OneCycle", "Recipe", "Step"]
