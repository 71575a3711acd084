"""Files and folders that are written whole or not at all; lists in messages."""

import subprocess
import sys
from contextlib import suppress

import pytest

from samplug.utils.errors import DataError
from samplug.utils.files import replace_file, replacing, replacing_folder, write_text
from samplug.utils.text import indented, listed, listed_lines


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
