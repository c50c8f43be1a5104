import os
import runpy
import warnings

import numpy as np
import pytest
from PIL import Image

from engine.datasets.decode import Unreadable, decode

MODES = {"L": "png", "LA": "png", "P": "png", "RGBA": "png", "1": "bmp", "CMYK": "jpg"}


@pytest.mark.parametrize(("mode", "suffix"), MODES.items())
def test_every_mode_becomes_rgb_as_in_torchvision(tmp_path, mode, suffix):
    file = tmp_path / f"x.{suffix}"
    Image.new(mode, (8, 6), 0).save(file)
    image = decode(file)
    assert (image.mode, image.size) == ("RGB", (8, 6))
    with Image.open(file) as there:
        assert np.array_equal(image, there.convert("RGB"))


def test_sixteen_bits_are_divided_not_cut_off(tmp_path):
    values = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.array(decode(tmp_path / "x.png"))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_alpha_and_palettes_with_alpha_are_dropped_without_a_warning(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([10, 20, 30] * 256)
    image.save(tmp_path / "x.png", transparency=b"\x00\x80")
    assert np.array(decode(tmp_path / "x.png"))[0, 0].tolist() == [10, 20, 30]


def test_a_format_that_is_not_expected_is_no_image(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", "PPM")
    with pytest.raises(Unreadable, match=r"x\.jpg cannot be read as an image"):
        decode(tmp_path / "x.jpg")


def test_a_format_whose_reader_starts_programs_is_no_image(tmp_path):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (tmp_path / "x.jpg").write_bytes(eps)
    with Image.open(tmp_path / "x.jpg") as control:
        assert control.format == "EPS"
    with pytest.raises(Unreadable, match=r"x\.jpg cannot be read as an image"):
        decode(tmp_path / "x.jpg")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(Unreadable, match="no regular file"):
        decode(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["x.tif", "x.TIFF", "x.jfif"])
def test_more_spellings_of_suffixes_are_read(tmp_path, name):
    form = "JPEG" if name == "x.jfif" else "TIFF"
    Image.new("RGB", (2, 2), (9, 9, 9)).save(tmp_path / name, form)
    assert np.array(decode(tmp_path / name)).mean() == 9


def test_a_large_image_is_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = runpy.run_path(decode.__code__.co_filename)  # pytest resets the module's filter
        assert module["decode"](tmp_path / "x.png").size == (4, 4)
