"""Decode one image file to RGB, grey or RGBA; an unreadable file is told in one line."""

import os
import stat
import warnings

from PIL import Image

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # some other readers start programs
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by the number of channels
SUFFIXES = (".bmp", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # twice as large: error


class Unreadable(ValueError):
    """The file is no image or is damaged; the message begins with the path."""


def decode(file: str | os.PathLike[str], channels: int = 3) -> Image.Image:
    """The image in RGB, as torchvision's folders read it: no EXIF rotation, no alpha.

    With 1 channel the image is grey, with 4 it is RGBA, opaque if the file has no transparency.

    What differs: 16 bits of grey are divided by 256, where Pillow alone would cut them off at 255.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ValueError("it is no regular file")  # a pipe would be waited for, for ever
        with Image.open(file, formats=FORMATS) as image:
            return _converted(image, MODES[channels])
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise unreadable(file, error) from error


def unreadable(file: str | os.PathLike[str], error: Exception) -> Unreadable:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return Unreadable(f"{os.fspath(file)} cannot be read as an image: {reason}")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L").convert(mode)
    if "transparency" in image.info:  # of a palette: without this step, Pillow warns
        image = image.convert("RGBA")
    return image.convert(mode)
