"""Downloads are complete, checked, of a single version and within limits; errors are readable."""

import hashlib
import json
import os
import socket
import threading
import zipfile
from email.utils import formatdate

import pytest
import torch
from filelock import FileLock

from samplug.checkpoints import WeightsError, fetch, read_checkpoint
from samplug.checkpoints import downloads as downloads_module
from samplug.checkpoints import transfer as transfer_module
from tests.server import FileServer

OLD, NEW = bytes(range(256)) * 400, bytes(reversed(range(256))) * 400
CUT = 40_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer_module.time, "sleep", lambda seconds: None)
    return tmp_path / "cache"


@pytest.fixture
def one_attempt(monkeypatch):
    monkeypatch.setattr(transfer_module, "_ATTEMPTS", 1)


def broken_off(server, name="w.bin"):
    """Start a download that is interrupted after ``CUT`` bytes; return its URL."""
    server._cuts.append(CUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_module, "_ATTEMPTS", 1)
        with pytest.raises(WeightsError, match=rf"connection closed after {CUT} of 102400 bytes; .*run again"):
            fetch(f"{server.address}/{name}")
    return f"{server.address}/{name}"


def cached(cache, pattern):
    return sorted(path.name for path in cache.rglob(pattern))


def test_a_part_is_continued_if_the_server_has_the_same_version():
    server = FileServer(OLD)
    assert fetch(broken_off(server)).read_bytes() == OLD
    assert server.requests == [None, f"bytes={CUT}-"]


def test_another_version_is_not_joined_to_a_part():
    server = FileServer(OLD)
    address = broken_off(server)
    server.content = NEW
    assert fetch(address).read_bytes() == NEW
    assert server.requests == [None, f"bytes={CUT}-"]  # answered with the whole file, since If-Range does not fit


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-102399/102400"},
        {"Content-Range": f"bytes {CUT}-102399/999999"},
        {"Content-Range": "bytes"},
        {"Content-Range": None},
        {"ETag": '"another"'},
        {"ETag": None},
    ],
)
def test_an_answer_of_another_part_or_version_is_not_joined_to_a_part(headers):
    """The server does not support ``If-Range``."""

    def answer(request):
        del request.headers["If-Range"]
        server.headers = headers if request.headers.get("Range") else {}
        server.send(request)

    server = FileServer(OLD)
    address = broken_off(server)
    server.content, server.answers["/w.bin"] = NEW, answer
    assert fetch(address).read_bytes() == NEW
    assert server.requests == [None, f"bytes={CUT}-", None]


def test_without_a_sign_of_the_version_a_download_starts_over():
    server = FileServer(OLD)
    server.validators = False
    address = broken_off(server)
    server.content = NEW
    assert fetch(address).read_bytes() == NEW
    assert server.requests == [None, None]


def test_the_time_of_a_file_is_a_version_if_it_is_old_enough():
    for modified, resumed in ((formatdate(usegmt=True), False), ("Fri, 01 Mar 2024 10:00:00 GMT", True)):
        server = FileServer(OLD)
        server.validators, server.headers = False, {"Last-Modified": modified}
        fetch(broken_off(server))
        assert (server.requests[-1] is not None) == resumed
    weak = FileServer(OLD)
    weak.headers = {"ETag": 'W/"1"'}
    fetch(broken_off(weak))
    assert weak.requests == [None, None]


def test_a_part_that_is_whole_is_not_asked_for_again(cache):
    server = FileServer(OLD)
    address = broken_off(server)
    next(cache.rglob("*.part")).write_bytes(OLD)
    assert fetch(address).read_bytes() == OLD
    assert len(server.requests) == 1


def test_a_part_longer_than_the_file_starts_over(cache):
    server = FileServer(OLD)
    address = broken_off(server)
    next(cache.rglob("*.part")).write_bytes(OLD + b"more")
    assert fetch(address).read_bytes() == OLD


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_only_a_regular_part_is_written(cache, tmp_path, kind):
    server = FileServer(OLD)
    address = broken_off(server)
    part, mine = next(cache.rglob("*.part")), tmp_path / "mine.txt"
    mine.write_bytes(b"mine")
    part.unlink()
    if kind == "link":
        part.symlink_to(mine)
    elif kind == "hard link":
        os.link(mine, part)
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        part.mkdir()
    with pytest.raises(WeightsError, match=r"w\.bin\.part is a link, folder or pipe"):
        fetch(address)
    assert mine.read_bytes() == b"mine"


def test_a_link_that_takes_the_place_of_the_part_is_not_followed(tmp_path):
    part, mine = tmp_path / "w.part", tmp_path / "mine.txt"
    mine.write_bytes(b"mine")
    part.symlink_to(mine)
    for new in (True, False):
        with pytest.raises(transfer_module._FinalError, match="cannot be written"):
            transfer_module._open(part, new=new)
    assert mine.read_bytes() == b"mine"


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Content-Length": "200000"}, "connection closed after 102400 of 200000 bytes"),
        ({"Content-Length": "-5"}, "announces a length of '-5'"),
        ({"Content-Length": str(1 << 50)}, "the server announces .* GiB, more than 64.0 GiB"),
        ({"Content-Length": str(63 << 30)}, "are needed, .* are free in"),
        ({"Content-Encoding": "gzip"}, r"compresses the file \(gzip\)"),
    ],
)
def test_what_the_server_announces_is_checked(cache, monkeypatch, headers, message):
    usage = type("Usage", (), {"free": 1 << 30})
    monkeypatch.setattr(transfer_module.shutil, "disk_usage", lambda folder: usage)
    server = FileServer(OLD)
    server.headers = headers
    with pytest.raises(WeightsError, match=rf"w\.bin could not be downloaded: .*{message}"):
        fetch(f"{server.address}/w.bin")
    assert not cached(cache, "w.bin")


def zipped(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(1000.0)}}, tmp_path / "w.pth")
    return (tmp_path / "w.pth").read_bytes()


@pytest.mark.parametrize(
    ("name", "message"), [("w.pth", "is cut short"), ("w.safetensors", "is not a readable safetensors file")]
)
def test_a_file_cut_short_by_a_wrong_length_is_not_kept(cache, tmp_path, name, message):
    from safetensors.torch import save

    content = zipped(tmp_path) if name == "w.pth" else save({"a": torch.arange(1000.0)})
    server = FileServer(content)
    server.headers = {"Content-Length": "3000"}
    with pytest.raises(WeightsError, match=rf"the download of {server.address}/{name} {message}"):
        fetch(f"{server.address}/{name}")
    assert not [file for file in cached(cache, "*w.*") if not file.endswith(".lock")]
    server.headers = {}
    assert read_checkpoint(fetch(f"{server.address}/{name}"))


def test_a_web_page_is_not_kept(cache):
    server = FileServer(b"<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(WeightsError, match=rf"the download of {server.address}/w\.pth is a web page"):
        fetch(f"{server.address}/w.pth")
    assert not cached(cache, "w.pth")


def dripping(request):
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    for _ in range(400):
        try:
            request.wfile.write(b"x")
        except OSError:  # the client has gone
            return
        threading.Event().wait(0.01)


@pytest.mark.usefixtures("one_attempt")
@pytest.mark.parametrize(
    ("limit", "message"), [("STALL", r"\d+ bytes arrived within"), ("LONGEST", "takes longer than")]
)
def test_a_server_that_sends_byte_after_byte_is_given_up(monkeypatch, limit, message):
    server = FileServer(OLD)
    server.answers["/w.bin"] = dripping
    monkeypatch.setattr(transfer_module, limit, 0.3)
    with pytest.raises(WeightsError, match=message):
        fetch(f"{server.address}/w.bin")


@pytest.mark.usefixtures("one_attempt")
def test_a_silent_server_is_given_up(monkeypatch):
    server, over = FileServer(OLD), threading.Event()
    server.answers["/w.bin"] = lambda request: over.wait(20)
    monkeypatch.setattr(transfer_module, "STALL", 0.2)
    with pytest.raises(WeightsError, match="timed out"):
        fetch(f"{server.address}/w.bin")
    over.set()


@pytest.mark.usefixtures("one_attempt")
def test_an_endless_file_is_given_up(monkeypatch):
    def endless(request):
        request.send_response(200)
        request.end_headers()
        for _ in range(2000):
            try:
                request.wfile.write(OLD)
            except OSError:
                return

    server = FileServer(OLD)
    server.answers["/w.bin"] = endless
    monkeypatch.setattr(transfer_module, "LARGEST", 1 << 20)
    with pytest.raises(WeightsError, match="sends more than 1 MiB"):
        fetch(f"{server.address}/w.bin")


def redirect(target):
    def answer(request):
        request.send_response(302)
        request.send_header("Location", target)
        request.end_headers()

    return answer


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/w.bin", "infinite loop"),
        ("file:///etc/passwd", "not allowed"),
        ("ftp://127.0.0.1/w.bin", "redirects to ftp:"),
        ("http://[::1/w.bin", "Invalid IPv6"),
        ("http://127.0.0.1:port/w.bin", "port"),
        ("http:///w.bin", "no host|redirect|host"),
        (f"http://{'a' * 70}.example/w.bin", "label|lookup|resolve|resolution|not known|host"),
    ],
)
def test_redirects_that_lead_nowhere(cache, target, message):
    server = FileServer(OLD)
    server.answers["/w.bin"] = redirect(target)
    with pytest.raises(WeightsError, match=rf"/w\.bin could not be downloaded: .*({message})") as error:
        fetch(f"{server.address}/w.bin")
    assert len(str(error.value).splitlines()) == 1
    assert not cached(cache, "w.bin")


def test_redirects_are_followed_but_not_from_https_to_http():
    server = FileServer(OLD)
    server.answers["/w.bin"] = redirect("/elsewhere/other.bin")
    assert fetch(f"{server.address}/w.bin").read_bytes() == OLD
    request = transfer_module.urllib.request.Request("https://example.org/w.bin")
    with pytest.raises(transfer_module._FinalError, match="never https to http"):
        transfer_module._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/w.bin")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://[::1/w.bin", "not a valid address: Invalid IPv6"),
        ("http://host:port/w.bin", "not a valid address: Port"),
        ("http://host:99999/w.bin", "not a valid address: Port"),
        ("http:///w.bin", "not a valid address: no host"),
        ("http://exa mple.org/w.bin", "white space"),
        ("http://example.org/a\r\nHost: b/w.bin", "white space"),
        (f"http://{'a' * 70}.org/w.bin", "not a valid address: .*label"),
        ("http://me:secret@example.org/w.bin", "user name or password"),
        ("http://example.org/", "does not end in a file name"),
        ("http://example.org/a/..", "does not end in a file name"),
        (f"http://example.org/{'w' * 250}.bin", "does not end in a file name of up to 200 bytes"),
    ],
)
def test_addresses_that_are_none(address, message):
    with pytest.raises(WeightsError, match=message) as error:
        fetch(address)
    assert "secret" not in str(error.value)


def test_names_outside_of_ascii_are_quoted():
    server, seen = FileServer(OLD), []
    server.answers["/gewichte%C3%A4.bin"] = lambda request: (seen.append(request.path), server.send(request))
    assert fetch(f"{server.address}/gewichteä.bin").read_bytes() == OLD
    assert seen == ["/gewichte%C3%A4.bin"]


@pytest.mark.parametrize("suffix", ["bin", "pth"])
def test_a_wrong_hash_keeps_the_cached_file(tmp_path, suffix):
    content = zipped(tmp_path) if suffix == "pth" else OLD
    server, digest = FileServer(content), hashlib.sha256(content).hexdigest()
    path = fetch(f"{server.address}/w.{suffix}")
    for _ in range(2):
        with pytest.raises(
            WeightsError, match=r"the file in the cache has sha256 .* expected 012345.*correct the address"
        ):
            fetch(f"{server.address}/w.{suffix}#sha256=012345")
    assert path.read_bytes() == content
    assert fetch(f"{server.address}/w.{suffix}#sha256={digest}") == path
    assert len(server.requests) == 1


def test_a_cached_file_with_a_hash_in_its_name_is_compared_when_it_is_used():
    server = FileServer(OLD)
    address = f"{server.address}/model-{hashlib.sha256(OLD).hexdigest()[:8]}.bin"
    path = fetch(address)
    stat = path.stat()
    path.write_bytes(OLD[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(WeightsError, match="the file in the cache has sha256"):
        fetch(address)


def test_the_hash_of_a_zip_file_is_computed_once_for_each_state(tmp_path, monkeypatch):
    """The file's own checksums are compared at each reading."""
    content, computed = zipped(tmp_path), []
    server = FileServer(content)
    address = f"{server.address}/w.pth#sha256={hashlib.sha256(content).hexdigest()}"
    path = fetch(address)
    real = downloads_module._hash
    monkeypatch.setattr(downloads_module, "_hash", lambda *args: (computed.append(args), real(*args))[1])
    assert fetch(address) == path
    assert not computed
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("another", b"")
    with pytest.raises(WeightsError, match="the file in the cache has sha256"):
        fetch(address)
    assert len(computed) == 1


def test_a_held_lock_says_who_holds_it_and_ends(cache, monkeypatch):
    server = FileServer(OLD)
    address = broken_off(server)
    (part,) = cache.rglob("*.part")
    path = part.with_suffix("")
    holder = path.with_name("w.bin.holder")
    holder.write_text(json.dumps({"host": socket.gethostname(), "process": 4711}))
    monkeypatch.setattr(downloads_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(downloads_module, "_POLL", 0.05)
    lines = []
    monkeypatch.setattr(downloads_module, "print_log", lambda message, *args, **kwargs: lines.append(message))
    message = rf"process 4711 of {socket.gethostname()} holds .*received nothing for"
    with FileLock(f"{path}.lock"), pytest.raises(WeightsError, match=message):
        fetch(address)
    assert len(lines) == 1
    assert "waiting for the download" in lines[0]
    assert fetch(address).read_bytes() == OLD
    assert not holder.exists()


def test_a_finished_download_needs_no_lock_and_no_place_to_write(cache):
    server = FileServer(OLD)
    path = fetch(f"{server.address}/w.bin")
    with FileLock(f"{path}.lock"):
        assert fetch(f"{server.address}/w.bin") == path


def test_a_cache_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(WeightsError, match="cannot be made: Not a directory; set SAMPLUG_CACHE"):
        fetch("http://127.0.0.1:9/w.bin")


def test_something_else_in_the_place_of_a_cached_file_is_named(cache):
    server = FileServer(OLD)
    path = fetch(f"{server.address}/w.bin")
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError, match=r"w\.bin, the place of .* in the cache, is not a file"):
        fetch(f"{server.address}/w.bin")
