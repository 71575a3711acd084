"""How commands end."""

import errno

import pytest

from samplug.commands.run import run


def test_errors_of_the_system_name_their_file(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SAMPLUG_TRACEBACK", raising=False)
    (tmp_path / "file").write_text("")
    assert run(lambda: (tmp_path / "file" / "folder").mkdir()) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'file' / 'folder'}: Not a directory\n"
    monkeypatch.setenv("SAMPLUG_TRACEBACK", "1")
    with pytest.raises(NotADirectoryError):
        run(lambda: (tmp_path / "file" / "folder").mkdir())


def test_errors_of_the_system_without_a_file_are_not_hidden(monkeypatch):
    monkeypatch.delenv("SAMPLUG_TRACEBACK", raising=False)

    def fail():
        raise OSError(errno.ENOMEM, "no memory")

    with pytest.raises(OSError, match="no memory"):
        run(fail)
