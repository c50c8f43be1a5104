"""An unusual image is read correctly; an unreadable file is named and never replaced."""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from engine.datasets.folder import read_folders
from engine.datasets.image_files import find
from engine.datasets.stream import ReadOptions, Stream
from engine.errors import DataError
from engine.transforms.batch import Identity
from engine.transforms.crop import ResizedCrop

pytestmark = pytest.mark.fault("B2")

COLOR = (200, 100, 50)


def plain(mode="RGB", color=COLOR, size=(40, 30)):
    return Image.new(mode, size, color)


def bomb(file):
    """A PNG of a few bytes whose header claims 50,000 x 50,000 pixels."""
    header = (50_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        data += len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)
    file.write_bytes(data)


def truncated(file):
    plain(size=(400, 300)).save(file, format="JPEG")
    file.write_bytes(file.read_bytes()[:900])


def exif(file):
    image = plain()
    image.getexif()[0x0112] = 6
    image.save(file, format="JPEG", exif=image.getexif(), quality=95)


def palette(file):
    image = Image.new("P", (40, 30))
    image.putpalette([*COLOR] * 256)
    image.save(file, format="PNG", transparency=b"\x00\x80")


SIXTEEN = np.full((30, 40), 200 * 256 + 77, np.uint16)
BAD = {
    "truncated JPEG": truncated,
    "zero bytes": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("no image, but some words"),
    "decompression bomb": bomb,
    "directory": lambda file: file.mkdir(),
    "broken link": lambda file: file.symlink_to("nowhere"),
}
GOOD = {
    "CMYK": (lambda f: plain("CMYK", (55, 155, 205, 0)).save(f, "JPEG", quality=95), COLOR),
    "16 bits": (lambda file: Image.fromarray(SIXTEEN).save(file, format="PNG"), (200, 200, 200)),
    "palette and alpha": (palette, COLOR),
    "grey": (lambda file: plain("L", 120).save(file, format="JPEG"), (120, 120, 120)),
    "EXIF-rotated": (exif, COLOR),
    "1x1": (lambda file: plain(size=(1, 1)).save(file, format="PNG"), COLOR),
}


@pytest.fixture
def folder(tmp_path):
    """Two intact images in one class, with a place for a third."""
    (tmp_path / "ant").mkdir()
    for name in "ac":
        plain().save(tmp_path / "ant" / f"{name}.jpg", quality=95)
    return tmp_path


def with_one(folder, make):
    """The folder with an image b.jpg made by `make`."""
    make(folder / "ant" / "b.jpg")
    find.cache_clear()
    return folder


def stream(folder, **options):
    files = find(folder)
    return Stream(files, ReadOptions(16, 16, 0, 60, **options), files.labels, files.classes)


def read(images, augment):
    return list(images.batches([torch.arange(len(images))], augment, 0, 0))


def named(action):
    with pytest.raises((DataError, ValueError)) as error:
        action()
    return "ant/b.jpg cannot be read as an image" in str(error.value)


@pytest.mark.filterwarnings("error")
def test_what_is_no_image_is_named_or_left_out_but_never_replaced(folder, tally, tmp_path):
    outcomes = []
    for make in BAD.values():
        root = with_one(folder, make)
        ((pixels, _),) = read(stream(root, skip=True), ResizedCrop())
        outcomes.append(
            named(lambda root=root: read(stream(root), ResizedCrop()))
            and named(lambda root=root: read(stream(root, skip=True), Identity()))
            and named(lambda root=root: read_folders(root, 16))
            and len(pixels) == 2
        )
        bad = folder / "ant" / "b.jpg"
        bad.rmdir() if bad.is_dir() else bad.unlink()
    tally("B2", "images that are none", outcomes)


@pytest.mark.filterwarnings("error")
def test_unusual_images_are_read_as_what_they_show(folder, tally):
    outcomes = []
    for make, color in GOOD.values():
        images = stream(with_one(folder, make))
        read_folders.cache_clear()
        for pixels in (
            read(images, Identity())[0][0],
            read(images, ResizedCrop())[0][0],
            read_folders(folder, 16).pixels,
        ):
            off = (pixels[1].int() - torch.tensor(color)).abs().max()
            outcomes.append(len(pixels) == 3 and off <= 3)
        (folder / "ant" / "b.jpg").unlink()
    tally("B2", "unusual images", [all(outcomes[i : i + 3]) for i in range(0, 18, 3)])
