"""Disks that are full, and limits of the system: the error names the file, and nothing that was there is lost."""

import errno
import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from samplug.engine.log_files import tolerate_full_disks, write_config
from samplug.engine.run_errors import full_disks_named, save_message
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.utils import files as module
from samplug.utils import open_files
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import Attempts, WriteError, replacing_folder, write_text
from samplug.visualization import write_picture
from samplug.visualization.backends import LocalVisBackend
from samplug.visualization.curves import draw_curves
from tests.conftest import ROOT
from tests.processes import run_python


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITERS = {
    "text": lambda path: write_text(path, "new" * 1000),
    "picture": lambda path: write_picture(path.with_suffix(".png"), np.zeros((40, 40), np.uint8)),
    "curves": lambda path: draw_curves({"a": {"loss": ([1, 2], [3.0, 4.0])}}, path.with_suffix(".png")),
    "config": lambda path: write_config(Config(dict(a="x" * 3000)), path.with_suffix(".py")),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, writer):
    """The disk is full when the content is flushed, the last moment at which the system reports it."""
    target = tmp_path / "results.txt"
    for suffix in (".txt", ".png", ".py"):
        target.with_suffix(suffix).write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        WriteError, match=r"results\.\w+ cannot be written: No space left.* free\); free space there"
    ) as e:
        WRITERS[writer](target)
    assert e.value.errno == errno.ENOSPC
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("results.txt", "results.png", "results.py"), "old"
    )


def test_the_message_says_how_much_is_needed_and_free(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"\(7 KiB needed, 3 MiB free\); free space there, or write to another disk"):
        write_text(tmp_path / "not/yet/there.json", "x" * 7000)
    with pytest.raises(WriteError, match=r"a/b cannot be written: .*quota is used up"):
        raise WriteError.of("a/b", OSError(errno.EDQUOT, "Disk quota exceeded"))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    with pytest.raises(DataError, match="cannot be written: File name too long; shorten the name"):
        write_text(tmp_path / ("x" * 300), "")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match=r"file/new cannot be written: Not a directory"),
        replacing_folder(tmp_path / "file/new"),
    ):
        pass
    assert "3 MiB free" in save_message(tmp_path / "iter_1.pth", OSError(errno.ENOSPC, "No space left on device"))


def test_a_limit_of_the_size_of_files(tmp_path):
    """With a real limit, the system refuses to write in the middle of a file."""
    code = (
        "import resource, sys\nfrom samplug.utils.files import write_text\nfrom samplug.utils.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\nwrite_text(sys.argv[1], 'x' * 4000)\n"
        "try:\n    write_text(sys.argv[1], 'y' * 9000)\nexcept DataError as error:\n    print(error)\n"
    )
    target = tmp_path / "scores.csv"
    done = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, timeout=60)
    assert "scores.csv cannot be written: File too large" in done.stdout, done.stderr
    assert target.read_text() == "x" * 4000
    assert list(tmp_path.iterdir()) == [target]


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events = []
    flush, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append("flush") or flush(descriptor))
    monkeypatch.setattr(os, "replace", lambda *paths: events.append("rename") or replace(*paths))
    write_text(tmp_path / "predict.json", "{}")
    assert events == ["flush", "rename"]


def test_one_file_does_not_keep_others_from_being_written(tmp_path):
    (tmp_path / "file").write_text("")
    attempts = Attempts()
    for name in ("a", "file/b", "c", "file/d"):
        with attempts:
            write_text(tmp_path / name, name)
    assert (tmp_path / "c").read_text() == "c"
    with pytest.raises(WriteError, match=r"file/b cannot be written.*\(1 more could not be written\)"):
        attempts.finish()
    with pytest.raises(KeyError), attempts:
        raise KeyError


def test_errors_of_other_writers_get_a_name(tmp_path):
    with (
        pytest.raises(WriteError, match=r"a file in .*work cannot be written: No space left"),
        full_disks_named(tmp_path / "work"),
    ):
        full()
    with (
        pytest.raises(WriteError, match=r"events\.json cannot be written: .*the disk is read-only"),
        full_disks_named(tmp_path / "work"),
    ):
        raise OSError(errno.EROFS, "Read-only file system", "events.json")
    for error in (
        PermissionError(errno.EACCES, "Permission denied", "image.png"),
        FileNotFoundError(2, "", "image.png"),
    ):
        with pytest.raises(type(error)) as found, full_disks_named(tmp_path):
            raise error
        assert found.value is error  # it may be of a file that is read


def test_curves_and_logs_cost_one_line(tmp_path, monkeypatch, capsys):
    """Training continues without logs and curves; checkpoints raise their own errors."""
    backend = LocalVisBackend(str(tmp_path / "vis"))
    backend.add_config(Config(dict(a=1)))
    backend.add_scalar("loss", 1.0, step=1)
    warnings = []
    monkeypatch.setattr("samplug.visualization.backends.print_log", lambda text, *_: warnings.append(text))
    with monkeypatch.context() as patch:
        patch.setattr("mmengine.visualization.vis_backend.dump", full)
        patch.setattr(os, "fsync", full)
        for step in (2, 3):
            backend.add_scalars(dict(loss=2.0), step=step)
        with pytest.raises(WriteError, match=r"vis/config\.py cannot be written"):
            backend.add_config(Config(dict(a=2)))
    assert len(warnings) == 1
    assert "The run goes on without these records" in warnings[0]
    backend.add_scalar("loss", 4.0, step=4)
    lines = (tmp_path / "vis/scalars.json").read_text().split("\n")
    assert [json.loads(line)["step"] for line in lines if line] == [1, 4]
    assert Config.fromfile(tmp_path / "vis/config.py").a == 1

    logger = logging.Logger("run")
    logger.addHandler(handler := logging.FileHandler(tmp_path / "run.log", encoding="utf-8"))
    tolerate_full_disks(logger)
    logger.warning(os.fsdecode(b"caf\xe9.jpg"))
    with monkeypatch.context() as patch:
        patch.setattr(handler, "flush", full)
        logger.warning("a")
        logger.warning("b")
    handler.close()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run.log cannot be written: No space left" in error
    assert (tmp_path / "run.log").read_text(encoding="utf-8").startswith("caf\\udce9.jpg\n")


LIMITED = """
import resource, sys
from samplug.evaluation.scoring_pool import ScoringPool
from samplug.utils.errors import ConfigError
hard = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
from samplug.engine.dataloaders import _check_open_files
for workers, work in ((2, lambda: _check_open_files(dict(num_workers=2, batch_size=4))), (8, lambda: pool(8)), ("auto", lambda: pool("auto"))):
    def pool(number):
        scoring = ScoringPool(number)
        scoring._spent = 1
        for key in range(3):
            scoring.submit(key, abs, -key)
        print("scored", scoring.finish())
    try:
        work()
        print("done", workers)
    except ConfigError as error:
        print("error", error)
print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("hard", [20, 300])
def test_a_small_limit_of_open_files(tmp_path, hard):
    """The limit is raised as far as the system allows; otherwise an error is raised before workers block."""
    (tmp_path / "limited.py").write_text(LIMITED)
    done = run_python(tmp_path / "limited.py", hard, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    lines = done.stdout.splitlines()
    assert len(lines) >= 5, done.stderr
    if hard == 20:
        assert lines[0].startswith("error data: num_workers=2 with batch_size=4 needs about 32 open files beside the")
        assert "the limit is 20: raise it (ulimit -n 4096), or set num_workers=0" in lines[0]
        assert lines[1].startswith("error scoring in 8 processes needs about 24 open files")
    else:
        assert lines[:2] == ["done 2", "scored {0: 0, 1: 1, 2: 2}"]
        assert int(lines[-1].split()[1]) > 20
    assert lines[-3:-1] == ["scored {0: 0, 1: 1, 2: 2}", "done auto"]


def test_errors_of_too_many_open_files_are_recognised():
    error = RuntimeError("loading failed")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert open_files.too_many_open_files(error)
    assert open_files.too_many_open_files(RuntimeError("received 0 items of ancdata"))
    assert not open_files.too_many_open_files(OSError(errno.ENOENT, "No such file"))


def test_no_limit_no_check(monkeypatch):
    monkeypatch.setattr(open_files, "_limits", lambda: (None, None))
    open_files.allow_open_files(10**9, 10**9, "x", "y")
    monkeypatch.setattr(open_files, "_limits", lambda: (10, 10))
    with pytest.raises(ConfigError, match="x needs about 1000000000 open files"):
        open_files.allow_open_files(10**9, 10**9, "x", "y")
    with pytest.raises(ConfigError):
        ScoringPool(1).submit(0, abs, 0)


GEOTIFF = """
import os, resource, sys
from functools import partial
from pathlib import Path
import numpy as np
import rasterio
from rasterio.transform import from_origin
from samplug.imaging.rasters import Georeference, write_geotiff
from samplug.utils.errors import DataError
from samplug.utils.files import replace_file
where = Georeference(rasterio.crs.CRS.from_epsg(32633), from_origin(500000, 5600000, 10, 10))
values = np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)
target = Path("map.tif")
write = partial(write_geotiff, values=values, where=where)
replace_file(target, write)
size = target.stat().st_size
target.unlink()
for limit in (size - 1, size - 200, size // 2, 10):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        replace_file(target, write)
    except DataError as error:
        print(error)
    print(sorted(os.listdir()))
"""


def test_a_geotiff_is_whole_or_missing(tmp_path):
    """GDAL does not report that the end of a file could not be written."""
    pytest.importorskip("rasterio")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GEOTIFF], cwd=tmp_path, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 8, done.stderr
    assert all("map.tif cannot be written: File too large" in line for line in lines[::2])
    assert lines[1::2] == ["[]"] * 4
