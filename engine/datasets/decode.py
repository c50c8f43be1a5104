"""Decode one image file to RGB pixels; an unreadable file is told in one line."""

import os
import stat
import warnings

from PIL import Image

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # some other readers start programs
SUFFIXES = (".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # twice as large: error


class Unreadable(ValueError):
    """The file is no image or is damaged; the message begins with the path."""


def decode(file: str | os.PathLike[str]) -> Image.Image:
    """The image in RGB, as torchvision's folders read it: no EXIF rotation, no alpha.

    What differs: 16 bits of grey are divided by 256, where Pillow alone would cut them off at 255.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ValueError("it is no regular file")  # a pipe would be waited for, for ever
        with Image.open(file, formats=FORMATS) as image:
            return _rgb(image)
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise unreadable(file, error) from error


def unreadable(file: str | os.PathLike[str], error: Exception) -> Unreadable:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Unreadable(f"{os.fspath(file)} cannot be read as an image: {reason}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if "transparency" in image.info:  # of a palette: without this step, Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")
