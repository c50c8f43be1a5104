import dataclasses
import hashlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from engine.storage.download import PublishedFile, download

CONTENT = bytes(range(256)) * 4000


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, cuts each connection after `cuts.pop(0)` bytes, and notes the requests."""

    cuts: list[int]
    asked: list[str]
    ranges = True

    def do_GET(self):
        start = int(re.search(r"\d+", self.headers["Range"])[0]) if self.ranges else 0
        self.asked.append(self.headers["Range"])
        self.send_response(206 if self.ranges else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:][: self.cuts.pop(0) if self.cuts else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """A new Server, and the archive that the server publishes."""

    class Own(Server):
        cuts, asked = [], []

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        Own.file = PublishedFile(
            f"http://127.0.0.1:{listening.server_port}/file.tar.gz",
            len(CONTENT),
            hashlib.sha256(CONTENT).hexdigest(),
        )
        yield Own
        listening.shutdown()
        thread.join()


def there(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_download_is_announced_once_with_its_size_and_its_folder(server, tmp_path, capfd):
    server.cuts[:] = [1000]  # a second connection is no second announcement
    download(server.file, tmp_path / "file.tar.gz")
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert line.startswith(f"data: downloading file.tar.gz, 1 MB, into {tmp_path} ")
    download(server.file, tmp_path / "file.tar.gz")
    assert capfd.readouterr().err == ""


def test_a_server_that_does_not_answer_is_not_waited_for_in_silence(tmp_path, monkeypatch, capfd):
    def silent(*args, **options):
        time.sleep(0.2)
        raise TimeoutError("timed out")

    monkeypatch.setattr("engine.storage.download.SILENCE", 0.01)
    monkeypatch.setattr("urllib.request.urlopen", silent)
    with pytest.raises(OSError, match="timed out"):
        download(PublishedFile("http://host/file.tar.gz", 5, "0"), tmp_path / "file.tar.gz")
    assert "downloading file.tar.gz" in capfd.readouterr().err


def test_a_file_is_fetched_whole(server, tmp_path):
    path = tmp_path / "new" / "file.tar.gz"
    download(server.file, path)
    assert there(path) == {"file.tar.gz": CONTENT}


def test_a_broken_connection_is_taken_up_again_where_it_broke(server, tmp_path):
    server.cuts[:] = [300_000, 1, 200_000]
    path = tmp_path / "file.tar.gz"
    download(server.file, path)
    assert there(path) == {"file.tar.gz": CONTENT}
    assert server.asked == ["bytes=0-", "bytes=300000-", "bytes=300001-", "bytes=500001-"]


def test_what_has_come_is_kept_and_gone_on_from_the_next_time(server, tmp_path):
    server.cuts[:] = [400_000, 0]
    path = tmp_path / "file.tar.gz"
    with pytest.raises(OSError, match="the first 400,000 bytes are kept"):
        download(server.file, path)
    assert there(path) == {"file.tar.gz.part": CONTENT[:400_000]}
    download(server.file, path)
    assert there(path) == {"file.tar.gz": CONTENT}
    assert server.asked[-1] == "bytes=400000-"


def test_a_server_that_cannot_go_on_starts_over(server, tmp_path):
    server.ranges = False
    path = tmp_path / "file.tar.gz"
    (tmp_path / "file.tar.gz.part").write_bytes(b"something old")
    download(server.file, path)
    assert there(path) == {"file.tar.gz": CONTENT}


def test_something_else_is_refused_and_leaves_nothing(server, tmp_path):
    path = tmp_path / "file.tar.gz"
    (tmp_path / "file.tar.gz.part").write_bytes(b"the beginning of another file")
    with pytest.raises(ValueError, match="something else was sent than http"):
        download(server.file, path)
    assert there(path) == {}


@pytest.mark.parametrize("attempt", range(10))
def test_of_several_one_fetches_and_the_others_wait(server, tmp_path, attempt):
    path = tmp_path / "new" / "file.tar.gz"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: download(server.file, path), range(16)))
    assert there(path) == {"file.tar.gz": CONTENT}
    assert server.asked == ["bytes=0-"]


@pytest.mark.parametrize("attempt", range(10))
def test_several_that_are_refused_leave_nothing(server, tmp_path, attempt):
    other = dataclasses.replace(server.file, sha256="0" * 64)
    path = tmp_path / "new" / "file.tar.gz"

    def refused(_):
        with pytest.raises(ValueError, match="something else was sent"):
            download(other, path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(refused, range(16)))
    assert not list(tmp_path.rglob("*.*"))
