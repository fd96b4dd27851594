"""Downloads from a server on this machine: shown first, resumed after a break, verified, whole or not there."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import Listening

from mignon.download import download
from mignon.errors import MachineError, MignonError

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server():
    """Serves DATA with ranges; `breaks`: after how many bytes the next answers end; `asked`: the ranges so far."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/data.bin":
                self.send_error(404)
                return
            wanted = self.headers.get("Range")
            self.server.asked.append(wanted)
            start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
            if start >= len(DATA):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(DATA) - start))
            self.end_headers()
            limit = self.server.breaks.pop(0) if self.server.breaks else len(DATA)
            self.wfile.write(DATA[start : start + limit])

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.asked, found.breaks, found.ranges = [], [], True
    found.url = f"http://127.0.0.1:{found.server_port}/data.bin"
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def test_a_file_is_shown_verified_and_not_fetched_twice(server, tmp_path):
    screen = Listening()
    path = download(server.url, tmp_path / "new" / "data.bin", SHA, screen)
    assert path.read_bytes() == DATA and [p.name for p in path.parent.iterdir()] == ["data.bin"]
    assert screen.lines == [f"{server.url}: 1,048,576 bytes, sha256 {SHA}"]
    download(server.url, path, SHA)
    assert server.asked == [None]


def test_a_break_is_gone_on_with_where_it_was(server, tmp_path):
    server.breaks = [300_000, 200_000]
    assert download(server.url, tmp_path / "data.bin", SHA).read_bytes() == DATA
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_command_that_is_repeated_goes_on_too(server, tmp_path):
    server.breaks = [1000, 1000, 1000]
    with pytest.raises(MachineError, match="repeat the command"):
        download(server.url, tmp_path / "data.bin", SHA)
    assert not (tmp_path / "data.bin").exists()
    assert download(server.url, tmp_path / "data.bin", SHA).read_bytes() == DATA
    assert server.asked[-1] == "bytes=3000-"


def test_a_whole_part_is_only_verified(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(DATA)
    assert download(server.url, tmp_path / "data.bin", SHA).read_bytes() == DATA


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges, server.breaks = False, [300_000]
    assert download(server.url, tmp_path / "data.bin", SHA).read_bytes() == DATA


def test_without_a_hash_nothing_old_is_gone_on_with_and_the_hash_is_said(server, tmp_path):
    (tmp_path / ".data.bin.part").write_bytes(b"of another file")
    screen = Listening()
    assert download(server.url, tmp_path / "data.bin", screen=screen).read_bytes() == DATA
    assert screen.lines[-1] == f"sha256 {SHA}" and server.asked == [None]


def test_another_hash_is_refused_and_what_was_there_stays(server, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"before")
    with pytest.raises(MignonError, match=f"{SHA}, not 00"):
        download(server.url, path, "00" * 32)
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("url", ["http://example.com/a", "file:///etc/passwd", "ftp://localhost/a", "data.bin", ""])
def test_addresses_without_encryption_are_refused(url, tmp_path):
    with pytest.raises(MignonError, match="https"):
        download(url, tmp_path / "a")


def test_what_is_not_there_and_who_does_not_answer_is_one_line(server, tmp_path):
    with pytest.raises(MignonError, match="404"):
        download(server.url + "x", tmp_path / "a")
    server.shutdown()
    server.server_close()
    with pytest.raises(MachineError, match="cannot be reached"):
        download(server.url, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
