"""Files and folders that are written whole or not at all; lists in messages."""

import json
import subprocess
import sys
from contextlib import suppress

import pytest
from mmengine.logging import MMLogger

from samplug.utils.errors import DataError
from samplug.utils.files import read_json, replace_file, replacing, replacing_folder, write_text
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.text import indented, listed, listed_lines, one_line, printable, shorten


def test_two_processes_write_one_file(tmp_path):
    """Neither meets the other's temporary file, and a reader sees one of both contents."""
    target = tmp_path / "scores.json"
    write_text(target, "0" * 1000)
    code = (
        "import sys\nfrom samplug.utils.files import write_text\n"
        "for _ in range(300):\n    write_text(sys.argv[1], sys.argv[2] * 1000)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(target), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(target.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {letter * 1000 for letter in "0ab"}
    assert target.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "deep/file.txt"
    with suppress(KeyError), replacing(target) as partial:
        partial.write_text("half")
        raise KeyError
    assert list(target.parent.iterdir()) == []
    write_text(target, "whole")
    with pytest.raises(DataError, match=r"file\.txt cannot be written: No space left"):
        replace_file(target, lambda partial: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_folders_are_replaced_whole(tmp_path):
    target = tmp_path / "deep/folder"
    with replacing_folder(target) as partial:
        (partial / "old").touch()
        assert not target.exists()
    with suppress(KeyError), replacing_folder(target) as partial:
        (partial / "new").touch()
        raise KeyError
    assert [path.name for path in target.iterdir()] == ["old"]
    with replacing_folder(target) as partial:
        (partial / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(target.parent.iterdir()) == [target]


def test_lists_in_messages():
    assert listed("abc", 3) == "a, b, c"
    assert listed("abcd", 2) == "a, b and 2 more"
    assert indented("abc", 3) == "  a\n  b\n  c"
    assert listed_lines({"x": "one", "y": "two"}, 1) == "  x: one\n  and 1 more"


@pytest.mark.parametrize("first", ["before", "inside"])
def test_warnings_are_logged_again_after_quiet_imports(capsys, first):
    """MMEngine's loggers cache levels and streams."""
    if first == "before":
        MMLogger.get_instance("quiet-before").setLevel("INFO")
    with quiet_optional_operators():
        logger = MMLogger.get_instance(f"quiet-{first}")
        logger.warning("not this one")
    capsys.readouterr()
    logger.warning("this one")
    text = "".join(capsys.readouterr())
    assert "this one" in text
    assert "not" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("caf\udce9.jpg", r"caf\xe9.jpg"),  # Latin-1
        ("a\nb\r\t\x1b[31m.png", r"a\nb\r\t\x1b[31m.png"),
        ("a\u2028b\ud800.png", r"a\u2028b\ud800.png"),
        ("\u00e9 \u65e5\u672c \U0001f642.png", "\u00e9 \u65e5\u672c \U0001f642.png"),
        (r"C:\new.png", r"C:\new.png"),
    ],
)
def test_names_are_printable(name, text):
    assert printable(name) == text
    text.encode()
    assert len(listed_lines({name: "is odd"}).splitlines()) == 1


def test_texts_with_any_name_are_written(tmp_path):
    """JSON reads the same name back."""
    name = "caf\udce9 \u65e5.jpg"
    for ascii_only in (True, False):
        write_text(tmp_path / "a.json", json.dumps({"name": name}, ensure_ascii=ascii_only))
        assert read_json(tmp_path / "a.json") == {"name": name}
    write_text(tmp_path / "a.txt", name)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\\udce9 \u65e5.jpg"


def test_lines_and_values_are_short():
    line = one_line("x" * 5000 + "end")
    assert len(line) <= 800
    assert line.endswith("end")
    nested = []
    for _ in range(2000):
        nested = [nested]
    for value in (nested, "x" * 10**6, list(range(10**6)), 10**4000, {"a" * 99: "b" * 99}):
        assert len(shorten(value)) <= 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"\0" * 5000, "is not JSON"),
        (b'"' + b"x" * 5000, "is not JSON"),
    ],
)
def test_odd_json_is_an_error_of_its_file(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.json {message}") as caught:
        read_json(tmp_path / "a.json")
    assert len(str(caught.value)) < 500


def test_json_has_a_limit(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_json(tmp_path / "a.json", 6) == [1, 2]
    with pytest.raises(DataError, match="6 bytes, the limit is 5"):
        read_json(tmp_path / "a.json", 5)
