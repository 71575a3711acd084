"""The command that says whether the sets of a config are there, whole, and as published."""

from pathlib import Path

import numpy as np
import pytest

from samplug.commands.run import main
from tests.builders import write_sa1b
from tests.conftest import ROOT
from tests.datasets.broken import NAMES, mask, picture, save, sound_set

FOLDER = "configs/quickstart_folder.py"
ISTD = "configs/_base_/datasets/istd.py"


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
    assert lines == ["  ok  train mine: 8 sound pairs", "  ok  test  mine: 8 sound pairs"]
    assert "error" not in error


def test_a_broken_folder(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    (root / "images/p3.jpg").write_bytes(b"")
    (root / "masks/p5.png").unlink()
    save(root / "masks/p6.png", mask()[:-1])
    code, lines, error = command(FOLDER, f"data_root={root}")
    assert code == 1
    assert marks(lines) == ["!!  train mine: 5 sound pairs", "!!  test  mine: 5 sound pairs"]
    found = [line.strip() for line in lines[1:4]]
    assert found[0].startswith(f"{root}/images/p5.jpg: has no mask of the same name")
    assert found[1] == f"p3: {root}/images/p3.jpg is empty (0 bytes): restore or remove it"
    assert found[2].startswith(f"p6: mask {root}/masks/p6.png is 48x35, its image {root}/images/p6.jpg is 48x36")
    assert error.endswith("error: check: 2 of 2 sets are not as they should be (marked !!)\n")


def test_long_lists_are_cut(tmp_path, command):
    for index in range(15):
        save(tmp_path / "images" / f"{index:02}.jpg", picture())
        save(tmp_path / "masks" / f"{index:02}.png", mask())
        if index > 2:
            (tmp_path / "images" / f"{index:02}.jpg").write_bytes(b"")
    _, lines, _ = command(FOLDER, f"data_root={tmp_path}")
    assert marks(lines)[0].endswith(": 3 sound pairs")
    assert sum("is empty" in line for line in lines) == 2 * 10
    assert lines[11].strip() == "and 2 more"


def test_nothing_that_loads(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    for name in NAMES:
        (root / "images" / f"{name}.jpg").write_bytes(b"")
    code, lines, _ = command(FOLDER, f"data_root={root}")
    assert code == 1
    assert marks(lines) == ["!!  train mine", "!!  test  mine"]
    assert any("p0.jpg is empty" in line for line in lines)

    code, lines, _ = command(FOLDER, f"data_root={tmp_path / 'nowhere'}")
    assert code == 1
    assert f"{tmp_path / 'nowhere' / 'images'} does not exist; {tmp_path} contains mine: correct its path" in lines[1]


def test_suspicious_masks_are_remarks(tmp_path, command):
    root = sound_set(tmp_path / "mine")
    save(root / "masks/p2.png", mask() * 0)
    code, lines, _ = command(FOLDER, f"data_root={root}")
    assert code == 0
    assert lines[:2] == ["  ok  train mine: 8 sound pairs", "            look at 1 masks, empty: p2"]


def test_published_number_and_size(tmp_path, command):
    """A part of a published set is said to be one; other sizes too, and each set for itself."""
    root = istd(tmp_path / "istd")
    code, lines, error = command(ISTD, f"data_root={root}")
    assert code == 1
    assert lines == [
        "  !!  train ISTD-train: 3 sound pairs",
        "            the published set has 1330 images, 3 pairs are here",
        "  !!  test  ISTD: 2 sound pairs",
        "            the published set has 540 images, 2 pairs are here",
    ]
    assert "2 of 2 sets" in error

    whole = ("train_dataloader.dataset.published.images=3", "test_dataloader.dataset.published.images=2")
    code, lines, _ = command(ISTD, f"data_root={root}", *whole)
    assert code == 0
    assert lines == ["  ok  train ISTD-train: 3 sound pairs", "  ok  test  ISTD: 2 sound pairs"]

    istd(root, train=1, test=0, size=(320, 240))
    code, lines, error = command(ISTD, f"data_root={root}", *whole)
    assert code == 1
    assert lines == [
        "  !!  train ISTD-train: 3 sound pairs",
        "            published images are 640x480; 1 of 320x240 are here",
        "  ok  test  ISTD: 2 sound pairs",
    ]
    assert "1 of 2 sets" in error


def test_parts_of_a_set_are_compared_as_the_whole(tmp_path, command):
    """Where a fraction is held out, the published number is that of both parts."""
    root = sound_set(tmp_path / "kvasir")
    config = "configs/_base_/datasets/kvasir_seg.py"
    whole = ("train_dataloader.dataset.published.images=8", "test_dataloader.dataset.published.images=8")
    code, lines, _ = command(config, f"data_root={root}", "val_fraction=0.5", *whole)
    assert code == 0
    assert lines == ["  ok  train Kvasir-SEG-train: 8 sound pairs", "  ok  test  Kvasir-SEG: 8 sound pairs"]
    code, lines, _ = command(config, f"data_root={root}", "val_fraction=0.5")
    assert code == 1
    assert lines[1].strip() == "the published set has 1000 images, 8 pairs are here"


def test_every_set_of_a_concatenation(tmp_path, command):
    code, lines, error = command("configs/_base_/datasets/polyp.py", f"data_root={tmp_path}")
    assert code == 1
    titles = [
        "train Polyp-train",
        *(f"test  {n}" for n in ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")),
    ]
    assert marks(lines) == [f"!!  {title}" for title in titles]
    assert "6 of 6 sets" in error


def test_a_config_of_imports(tmp_path, command):
    config = tmp_path / "imports.py"
    config.write_text(
        "from mmengine.config import read_base\n"
        "from samplug.datasets import BinarySegDataset\n"
        f"test_dataloader = dict(dataset=dict(type=BinarySegDataset, data_root={str(sound_set(tmp_path / 'mine'))!r}))\n"
    )
    code, lines, _ = command(config, "test_dataloader.dataset.name=own")
    assert (code, lines) == (0, ["  ok  test  own: 8 sound pairs"])


def test_a_config_without_folders(command):
    code, lines, error = command("configs/quickstart.py", "img_size=32")
    assert (code, lines) == (1, [])
    assert "has no dataset of files in its loaders" in error


def test_sets_of_several_objects(tmp_path, command):
    write_sa1b(tmp_path / "sa1b", 6)
    config = "configs/prompted/prompted-decoder_sam-vit-b_1xb4-20e_sa1b-1024.py"
    code, lines, _ = command(config, f"data_root={tmp_path / 'sa1b'}")
    assert code == 0
    assert marks(lines)[0].startswith("ok  train train: 6 sound images, 40x40, 12 objects (1 to 3 an image")
    (tmp_path / "sa1b/3.json").write_text("{}")
    code, lines, error = command(config, f"data_root={tmp_path / 'sa1b'}")
    assert code == 1
    assert "5 sound images" in marks(lines)[0]
    assert any("3.json" in line for line in lines)
    assert "2 of 2 sets are not as they should be" in error


def test_a_wrong_key_is_named(tmp_path, command):
    code, _, error = command(FOLDER, f"data_root={sound_set(tmp_path / 'mine')}", "test_dataloader.dataset.chek=all")
    assert code == 1
    assert "config: test_dataloader.dataset: BinarySegDataset has no 'chek'; did you mean check" in error
