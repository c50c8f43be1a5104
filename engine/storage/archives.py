"""The published archives of CIFAR: whether a folder holds the images, and their download.

This file imports no torch: images that are missing are asked for, or downloaded, at once.
"""

from dataclasses import dataclass
from pathlib import Path

from engine.storage.download import PublishedFile, download


@dataclass(frozen=True)
class Archive:
    """One published archive: its title, its address, its SHA-256, and its contents."""

    title: str
    file: str
    size: int
    sha256: str
    folder: str
    batches: dict[str, tuple[str, ...]]
    labels: str
    names: tuple[str, str]  # the file with the class names, and their key in it

    @property
    def published(self) -> PublishedFile:
        return PublishedFile(BASE + self.file, self.size, self.sha256)

    def unpacked(self, root: Path) -> Path | None:
        """The folder at or below `root` that holds the unpacked batches, if any."""
        folders = (root, root / self.folder)
        return next((f for f in folders if (f / self.batches["test"][0]).is_file()), None)

    def fetch(self, root: Path) -> Path:
        """The packed archive in `root`, downloaded if it is missing.

        FileNotFoundError if the archive cannot be downloaded; the message says what to do.
        """
        path = root / self.file
        if not path.is_file():
            try:
                download(self.published, path)
            except (OSError, ValueError) as error:
                raise FileNotFoundError(
                    f"there is no {self.title} in {root}, and it cannot be downloaded ({error}): "
                    "data=digits needs no download; or say data.root=DIR, a folder that holds it; "
                    f"or put {self.published.url} ({self.published.megabytes}) into {root}"
                ) from error
        return path


BASE = "https://www.cs.toronto.edu/~kriz/"
ARCHIVES = {
    "cifar100": Archive(
        title="CIFAR-100",
        file="cifar-100-python.tar.gz",
        size=169_001_437,
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        folder="cifar-100-python",
        batches={"train": ("train",), "test": ("test",)},
        labels="fine_labels",
        names=("meta", "fine_label_names"),
    ),
    "cifar10": Archive(
        title="CIFAR-10",
        file="cifar-10-python.tar.gz",
        size=170_498_071,
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folder="cifar-10-batches-py",
        batches={
            "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test": ("test_batch",),
        },
        labels="labels",
        names=("batches.meta", "label_names"),
    ),
}


def fetch_missing(name: str, root: Path) -> None:
    """Download the archive `name` into `root`, unless `root` holds its images in some form."""
    archive = ARCHIVES[name]
    splits = all((root / split).is_dir() for split in ("train", "test"))
    if not splits and archive.unpacked(root) is None:
        archive.fetch(root)
