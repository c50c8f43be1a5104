"""Fixtures of all tests. The environment comes first: it must be set before torch is imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # other processes use the cores as well
os.environ.setdefault("OMP_NUM_THREADS", "1")  # in small networks, threads only wait for each other

from pathlib import Path

import pytest

NEEDS_GPU = "needs a CUDA GPU; `make gpu` runs it on one"
SAMPLE = os.environ.get("IMAGENET_SAMPLE", "")


def pytest_runtest_setup(item):
    """Skip the tests with the mark `gpu` where there is no GPU."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip(NEEDS_GPU)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """`train` and `val` with three classes of generated JPEGs, 10 and 4 each, of many sizes."""
    import numpy as np
    from PIL import Image

    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4)):
        for name in ("ant", "bee", "cat"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                small = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
                size = random.integers(20, 90, 2).tolist()
                small.resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.JPEG")
    return root


@pytest.fixture(scope="session")
def sample():
    """A folder of 125 real ImageNet photographs in class folders."""
    if not Path(SAMPLE).is_dir() or not SAMPLE:
        pytest.skip("IMAGENET_SAMPLE names no folder with real photographs")
    return Path(SAMPLE)
