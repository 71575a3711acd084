"""The command that downloads the weights that a name needs, from a loopback server."""

import hashlib

import pytest

from samplug.checkpoints import fetch
from samplug.commands.run import main
from samplug.model_index import Model, names
from tests.server import FileServer

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves the encoder ``enc``, which the config ``task`` starts from; the first connection breaks."""
    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path / "cache"))
    server = FileServer(CONTENT, cut_first=40_000)
    digest = hashlib.sha256(CONTENT).hexdigest()
    encoder = Model("enc", None, f"{server.address}/enc.pth#sha256={digest}", (), {"File Size": len(CONTENT)})
    models = {
        "enc": encoder,
        "task": Model("task", tmp_path / "task.py", None, ("enc",), {}),
        "bare": Model("bare", tmp_path / "bare.py", None, (), {}),
        "changed": Model("changed", None, f"{server.address}/changed.pth#sha256={'0' * 64}", (), {}),
    }
    monkeypatch.setattr("samplug.model_index._models", lambda: models)
    return server


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.delenv("SAMPLUG_TRACEBACK", raising=False)
        code = main("download", list(map(str, arguments)))
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return call


def test_a_config_gets_what_it_starts_from(server, call):
    code, lines, _ = call("task")
    file = fetch(f"{server.address}/enc.pth")
    assert (code, lines[-1]) == (0, str(file))
    assert file.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=40000-"]  # resumed, and not asked for again
    call("enc")
    assert len(server.requests) == 2


def test_out_dir(server, call, tmp_path):
    for _ in range(2):
        code, lines, _ = call("task", "--out-dir", tmp_path / "weights")
        assert (code, lines[-1]) == (0, str(tmp_path / "weights/enc.pth"))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["enc.pth"]
    assert (tmp_path / "weights/enc.pth").read_bytes() == CONTENT

    (tmp_path / "other").mkdir()
    (tmp_path / "other/enc.pth").write_bytes(b"mine")
    code, _, error = call("task", "--out-dir", tmp_path / "other")
    assert code == 1
    assert "enc.pth is another file (4 bytes, expected 102,400)" in error
    assert (tmp_path / "other/enc.pth").read_bytes() == b"mine"


@pytest.mark.usefixtures("server")
def test_a_copy_that_breaks_off_leaves_nothing_in_the_way(call, tmp_path, monkeypatch):
    def other_disk(source, target):
        raise OSError(18, "Invalid cross-device link")

    def full(source, target):
        target.write_bytes(CONTENT[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", other_disk)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", full)
        code, _, error = call("task", "--out-dir", tmp_path / "weights")
    assert code == 1
    assert "enc.pth cannot be written: No space left" in error
    code, _, _ = call("task", "--out-dir", tmp_path / "weights")
    assert code == 0
    assert (tmp_path / "weights/enc.pth").read_bytes() == CONTENT


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("name", "message"),
    [("taks", "did you mean task"), ("bare", "bare has no weights"), ("changed", "expected 0000000")],
)
def test_mistakes(call, name, message):
    code, _, error = call(name)
    assert code == 1
    assert message in error


def test_list(call, capsys):
    code, lines, _ = call("--list")
    assert code == 0
    assert [line.split()[0] for line in lines] == names()
    assert ["sam-vit-b", "375", "MB"] in [line.split() for line in lines]
    assert ["ts-sam_sam-vit-h_4xb2-80e_cod-1024", "sam-vit-h"] in [line.split() for line in lines]
    for arguments in ((), ("--list", "sam-vit-b")):
        with pytest.raises(SystemExit):
            call(*arguments)
    capsys.readouterr()
