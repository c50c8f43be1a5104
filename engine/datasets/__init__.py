"""Data sets: images in memory or streamed from files, with their splits and classes."""

from engine.datasets.cifar import CIFAR
from engine.datasets.digits import Digits
from engine.datasets.folder import Folder
from engine.datasets.imagenet import ImageNet

__all__ = ["CIFAR", "Digits", "Folder", "ImageNet"]
