"""The command that says whether the sets of a config are there, whole, and as published."""

import re
from pathlib import Path

import numpy as np
import pytest

from samplug.commands.run import main
from samplug.config import load_config
from samplug.registry import DATASETS
from tests.builders import write_sa1b
from tests.conftest import ROOT
from tests.datasets.broken import NAMES, mask, picture, save, sound_set

FOLDER = "configs/quickstart_folder.py"
ISTD = "configs/_base_/datasets/istd.py"
SEVERAL = "configs/prompted/prompted-decoder_sam-vit-b_1xb4-20e_sa1b-1024.py"


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs it; its exit code, the lines it printed, and its last word."""

    def call(config: str, *options: str) -> tuple[int, list[str], str]:
        monkeypatch.delenv("SAMPLUG_TRACEBACK", raising=False)
        code = main("check", [str(ROOT / config), "--cfg-options", *options])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return call


def marks(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith(("  ok", "  !!"))]


def istd(root: Path, train: int = 3, test: int = 2, size: tuple[int, int] = (640, 480)) -> Path:
    for split, number in (("train", train), ("test", test)):
        for index in range(number):
            flat = np.full((size[1], size[0]), 90, np.uint8)
            save(root / split / f"{split}_A" / f"{index}.png", np.dstack([flat] * 3))
            save(
                root / split / f"{split}_B" / f"{index}.png",
                np.where(np.arange(size[0]) < 99, flat // 90 * 255, flat * 0),
            )
    return root


def test_a_sound_folder(tmp_path, command):
    code, lines, error = command(FOLDER, f"data_root={sound_set(tmp_path / 'mine')}")
    assert code == 0
    assert lines == [
        "  ok  train mine: 6 images (train part of 8), masks 0/255, 48x36, foreground 17.2% (14.0% to 20.4%)",
        "  ok  test  mine: 2 images (val part of 8), masks 0/255, 48x36, foreground 17.2% (12.7% to 21.6%)",
    ]
    assert "error" not in error


@pytest.mark.parametrize("config", ["projects/template/my_task.py", SEVERAL])
def test_the_report_is_what_a_training_logs(tmp_path, command, monkeypatch, config):
    """The report has the words of the training log for all sets, of pairs and of several objects."""
    root = tmp_path / "mine"
    write_sa1b(root, 12)
    sound_set(root)
    logged = []
    monkeypatch.setattr("samplug.datasets.base.print_log", lambda line, *_: logged.append(line))
    cfg = load_config(ROOT / config, dict(data_root=str(root)))
    for phase in ("train", "val", "test"):
        DATASETS.build(cfg[f"{phase}_dataloader"].dataset | dict(pipeline=[]))
    expected = [line.removesuffix("; all read") for line in logged]
    _, lines, _ = command(config, f"data_root={root}")
    assert [mark.split(maxsplit=2)[2] for mark in marks(lines)] == expected
    assert len(expected) == 3
    assert re.search(r"masks 0/255, .* foreground \d|objects \(", expected[1])


def test_frames_of_videos(tmp_path, command):
    for video in "abcde":
        for frame in range(2):
            save(tmp_path / f"JPEGImages/{video}/{frame:05}.jpg", picture())
            save(tmp_path / f"Annotations/{video}/{frame:05}.png", mask() // 255 * 3)
    config = tmp_path / "videos.py"
    config.write_text(
        f"video = dict(type='VideoFolderDataset', data_root={str(tmp_path)!r})\n"
        "train_dataloader = dict(dataset=dict(part='train', name='t', **video))\n"
        "val_dataloader = dict(dataset=dict(part='val', name='v', **video))\n"
    )
    code, lines, _ = command(config, "work_dir=x")
    assert code == 0
    assert [re.sub(", 48x36.*", "", line) for line in lines] == [
        "  ok  train t: 8 images (train part of 10)",
        "  ok  val   v: 2 images (val part of 10)",
    ]


def test_few_images_that_choose_are_said(tmp_path, command):
    _, lines, _ = command("projects/template/my_task.py", f"data_root={sound_set(tmp_path)}")
    assert [line[:9] for line in lines if "only 1 validation images choose the best checkpoint (by mDice)" in line] == [
        " " * 9
    ]


def test_sets_without_a_check_are_named(tmp_path, command):
    config = tmp_path / "mixed.py"
    config.write_text(
        f"train_dataloader = dict(dataset=dict(type='BinarySegDataset', data_root={str(sound_set(tmp_path / 'mine'))!r}))\n"
        "test_dataloader = dict(dataset=dict(type='CamouflageSceneDataset', length=2))\n"
    )
    code, lines, _ = command(config, "work_dir=x")
    assert code == 0
    assert lines[1] == "  --  test  CamouflageSceneDataset: not checked (the class has no check_files)"


def test_a_broken_folder(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    (root / "images/p3.jpg").write_bytes(b"")
    (root / "masks/p5.png").unlink()
    save(root / "masks/p6.png", mask()[:-1])
    code, lines, error = command(FOLDER, f"data_root={root}")
    assert code == 1
    assert [mark.partition(", masks")[0] for mark in marks(lines)] == [
        "!!  train mine: 4 images (train part of 7)",
        "!!  test  mine: 1 images (val part of 7)",
    ]
    found = [line.strip() for line in lines if not line.startswith("  !!")]
    assert found[0].startswith(f"{root}/images/p5.jpg: has no mask of the same name")
    assert f"p3: {root}/images/p3.jpg is empty (0 bytes): restore or remove it" in found
    assert any(
        line.startswith(f"p6: mask {root}/masks/p6.png is 48x35, its image {root}/images/p6.jpg is 48x36")
        for line in found
    )
    assert "and 1 named above" in found
    assert error.endswith("error: check: 2 of 2 sets have problems (marked !!)\n")


def test_long_lists_are_cut_and_not_repeated(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    for index in range(12):
        save(root / "images" / f"alone{index:02}.jpg", picture())
    _, lines, _ = command(FOLDER, f"data_root={root}")
    assert sum("has no mask" in line for line in lines) == 10
    assert lines[11].strip() == "and 2 more"
    assert lines[13].strip() == "and 12 named above"


def test_pictures_that_are_not_read_are_named_once(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    (root / "images" / "extra.HEIC").write_bytes(b"x")
    code, lines, _ = command(FOLDER, f"data_root={root}")
    assert code == 0
    assert sum("left out (extra.HEIC)" in line for line in lines) == 1


def test_nothing_that_loads(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    for name in NAMES:
        (root / "images" / f"{name}.jpg").write_bytes(b"")
    code, lines, _ = command(FOLDER, f"data_root={root}")
    assert code == 1
    assert marks(lines) == ["!!  train mine", "!!  test  mine"]
    assert any("p0.jpg is empty" in line for line in lines)

    code, lines, _ = command("projects/template/my_task.py", f"data_root={tmp_path / 'nowhere'}")
    assert not any("validation images" in line for line in lines)  # there are none at all
    code, lines, _ = command(FOLDER, f"data_root={tmp_path / 'nowhere'}")
    assert code == 1
    assert f"{tmp_path / 'nowhere' / 'images'} does not exist; {tmp_path} contains mine: correct its path" in lines[1]


def test_suspicious_masks_are_remarks(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    save(root / "masks/p2.png", mask() * 0)
    code, lines, _ = command(FOLDER, f"data_root={root}")
    assert code == 0
    assert "1 of the masks empty (p2)" in next(line for line in lines if "p2" in line)
    assert lines.count("            look at 1 masks, empty: p2") == 1


def test_published_number_and_size(tmp_path, command):
    """A part of a published set is said to be one; other sizes too, and each set for itself."""
    root = istd(tmp_path / "istd")
    code, lines, error = command(ISTD, f"data_root={root}")
    assert code == 1
    assert [line.partition(", masks")[0] for line in lines] == [
        "  !!  train ISTD-train: 2 images (train part of 3)",
        "            the published set has 1330 images, 3 pairs are here",
        "  !!  val   ISTD-val: 1 images (val part of 3)",
        "            and 1 named above",
        "  !!  test  ISTD: 2 images",
        "            the published set has 540 images, 2 pairs are here",
    ]
    assert "3 of 3 sets" in error

    whole = [f"{part}_dataloader.dataset.published.images={n}" for part, n in (("train", 3), ("val", 3), ("test", 2))]
    code, lines, _ = command(ISTD, f"data_root={root}", *whole)
    assert code == 0
    assert [line[:4] for line in lines] == ["  ok"] * 3

    istd(root, train=0, test=1, size=(320, 240))
    code, lines, error = command(ISTD, f"data_root={root}", *whole)
    assert code == 1
    assert [line.partition(", masks")[0] for line in lines] == [
        "  ok  train ISTD-train: 2 images (train part of 3)",
        "  ok  val   ISTD-val: 1 images (val part of 3)",
        "  !!  test  ISTD: 2 images",
        "            published images are 640x480; 1 of 320x240 are here",
    ]
    assert "1 of 3 sets" in error


def test_parts_of_a_set_are_compared_as_the_whole(tmp_path, command):
    """Where a fraction is held out, the published number is that of both parts."""
    root = sound_set(tmp_path / "kvasir")
    config = "configs/_base_/datasets/kvasir_seg.py"
    whole = ("train_dataloader.dataset.published.images=8", "test_dataloader.dataset.published.images=8")
    code, lines, _ = command(config, f"data_root={root}", "val_fraction=0.5", *whole)
    assert code == 0
    assert [line.partition(", masks")[0] for line in lines] == [
        "  ok  train Kvasir-SEG-train: 4 images (train part of 8)",
        "  ok  test  Kvasir-SEG: 4 images (val part of 8)",
    ]
    code, lines, _ = command(config, f"data_root={root}", "val_fraction=0.5")
    assert code == 1
    assert lines[1].strip() == "the published set has 1000 images, 8 pairs are here"


def test_every_set_of_a_concatenation(tmp_path, command):
    code, lines, error = command("configs/_base_/datasets/polyp.py", f"data_root={tmp_path}")
    assert code == 1
    titles = [
        "train Polyp-train",
        "val   Polyp-val",
        *(f"test  {n}" for n in ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")),
    ]
    assert marks(lines) == [f"!!  {title}" for title in titles]
    assert "7 of 7 sets" in error


def test_a_config_of_imports(tmp_path, command):
    config = tmp_path / "imports.py"
    config.write_text(
        "from mmengine.config import read_base\n"
        "from samplug.datasets import BinarySegDataset\n"
        f"test_dataloader = dict(dataset=dict(type=BinarySegDataset, data_root={str(sound_set(tmp_path / 'mine'))!r}))\n"
    )
    code, lines, _ = command(config, "test_dataloader.dataset.name=own")
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith("  ok  test  own: 8 images, masks 0/255, 48x36, foreground")


def test_a_config_without_folders(command):
    code, lines, error = command("configs/quickstart.py", "img_size=32")
    assert (code, lines) == (1, [])
    assert "has no dataset of files in its loaders" in error


def test_sets_of_several_objects(tmp_path, command):
    write_sa1b(tmp_path / "sa1b", 6)
    code, lines, _ = command(SEVERAL, f"data_root={tmp_path / 'sa1b'}")
    assert code == 0
    assert marks(lines)[0].startswith("ok  train train: 4 images (train part of 6), 40x40, 7 objects (1 to 3 an image")
    (tmp_path / "sa1b/3.json").write_text("{}")
    code, lines, error = command(SEVERAL, f"data_root={tmp_path / 'sa1b'}")
    assert code == 1
    assert sum("3.json" in line for line in lines) == 1
    assert "1 of 3 sets have problems" in error


def test_a_wrong_key_is_named(tmp_path, command):
    code, _, error = command(FOLDER, f"data_root={sound_set(tmp_path / 'mine')}", "test_dataloader.dataset.chek=all")
    assert code == 1
    assert "config: test_dataloader.dataset: BinarySegDataset has no 'chek'; did you mean check" in error


def test_files_that_the_config_leaves_out_are_no_error(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    (root / "images/p3.jpg").write_bytes(b"")
    (root / "masks/p5.png").unlink()
    code, lines, error = command(FOLDER, f"data_root={root}", "on_error=skip")
    assert (code, error) == (0, "")
    assert marks(lines)[0].endswith("; 2 problems, left out (on_error='skip')")
    assert sum("p5.jpg: has no mask of the same name" in line for line in lines) == 1
    assert any("p3.jpg is empty" in line for line in lines)
    code, lines, error = command(FOLDER, f"data_root={tmp_path / 'nowhere'}", "on_error=skip")
    assert code == 1
    assert marks(lines) == ["!!  train nowhere", "!!  test  nowhere"]
