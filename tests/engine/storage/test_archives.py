import pytest

from engine.storage import archives
from engine.storage.archives import fetch_missing


@pytest.mark.parametrize(
    "files",
    [
        ("cifar-100-python/test",),
        ("test", "train"),
        ("cifar-100-python.tar.gz",),
        ("train/ant/1.png", "test/ant/1.png"),
    ],
)
def test_images_in_any_form_are_not_downloaded(files, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "download", None)
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    fetch_missing("cifar100", tmp_path)


def test_missing_images_are_downloaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(archives, "download", lambda file, path: asked.append((file.url, path)))
    fetch_missing("cifar100", tmp_path)
    (tmp_path / "train").mkdir()  # half of the class folders
    fetch_missing("cifar100", tmp_path)
    path = tmp_path / "cifar-100-python.tar.gz"
    assert asked == [(archives.ARCHIVES["cifar100"].published.url, path)] * 2
