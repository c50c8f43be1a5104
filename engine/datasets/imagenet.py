"""ImageNet, or any other class folders that do not fit in memory: read from disk in training.

The 1,281,167 training and 50,000 validation images of ILSVRC 2012 (Russakovsky et al., 2015) in
`root/train/<wnid>/*.JPEG` and `root/val/<wnid>/*.JPEG`; the latter are the test set of the papers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.datasets.classes import choose, short_list
from engine.datasets.dataset import ImageDataset
from engine.datasets.decode import MODES
from engine.datasets.image_files import (
    ImageFiles,
    class_names,
    find,
    part_of_each,
)
from engine.datasets.stream import ReadOptions, Stream
from engine.datasets.workers import default_count
from engine.transforms.crop import CenterCrop

HOW = (
    "name another data.root, or put there from https://image-net.org/download "
    "ILSVRC2012_img_train.tar (147,897,477,120 bytes, MD5 1d675b47d978889d74fa0da5fadfb00e), "
    "ILSVRC2012_img_val.tar (6,744,924,160 bytes, MD5 29b22e2961454d5413ddabcf34fc5622) and "
    "ILSVRC2012_devkit_t12.tar.gz, then: python -c "
    "\"from torchvision.datasets import ImageNet as I; [I('{root}', s) for s in ('train', 'val')]\""
)


@dataclass(frozen=True, kw_only=True)
class ImageNet(ImageDataset):
    """`classes`: all there are (null), the first so many by name, or those named.

    `name` is what the runs call the data set; null: imagenet.
    `fraction` of each class's training images is used, the same for every seed. In evaluation the
    shorter side is resized to `resize` and the centre kept. `workers` processes read the images
    (null: one for each core but one); `timeout` is how many seconds a batch may take them.
    `corrupt`: a training image that cannot be read stops the run, or is left out of its batch and
    counted. One to be evaluated always stops it.
    """

    CHANNELS = tuple(MODES)

    root: str
    name: str | None = None
    classes: int | Sequence[str] | None = None
    fraction: float = 1.0
    resize: int = 256
    workers: int | None = None
    timeout: float = 120
    corrupt: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        rules = {
            "fraction": (0 < self.fraction <= 1, "above 0 and at most 1"),
            "resize": (self.resize >= self.image_size, f"at least image_size={self.image_size}"),
            "workers": (self.workers is None or self.workers >= 0, "0 or more, or null"),
            "timeout": (self.timeout > 0, "positive"),
            "corrupt": (self.corrupt in ("error", "skip"), "error or skip"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}")

    def read(self, split: str) -> Stream:
        try:
            files = self._files(split)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; {HOW.format(root=self.root)}") from error
        if split == "train" and self.fraction < 1:
            files = files.take(part_of_each(files.labels, self.fraction))
        return Stream(files, self._reading(split), files.labels, files.classes)

    @property
    def crop(self) -> CenterCrop:
        return CenterCrop(self.resize)

    def left_out(self, split: str) -> Mapping[str, int]:
        return self._files(split).left_out

    def _files(self, split: str) -> ImageFiles:
        root = Path(self.root).expanduser()
        folder = root / ("train" if split == "train" else _test_folder(root))
        numbered = root / "train" if (root / "train").is_dir() else folder
        classes = choose(class_names(folder if self.classes is None else numbered), self.classes)
        if missing := sorted({*classes} - {*class_names(folder)}):
            raise ValueError(f"{folder} lacks classes that train has: {short_list(missing)}")
        return find(folder, classes)

    def _reading(self, split: str) -> ReadOptions:
        workers = default_count() if self.workers is None else self.workers
        skip = self.corrupt == "skip" and split == "train"
        return ReadOptions(self.image_size, self.resize, workers, self.timeout, skip, self.channels)


def _test_folder(root: Path) -> str:
    return "val" if (root / "val").is_dir() else "test"
