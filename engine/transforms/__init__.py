"""Transforms of training images: of a whole batch in memory, or of each image as it is read."""

from engine.transforms.batch import CropFlip, Identity
from engine.transforms.crop import ResizedCrop

__all__ = ["CropFlip", "Identity", "ResizedCrop"]
