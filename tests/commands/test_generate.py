"""The command that generates masks of everything in images."""

import json
import os
import shutil
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from samplug.apis import Predictor
from samplug.commands import folder_masks as module
from samplug.commands.folder_masks import Settings, generate
from samplug.converters import read_annotations
from samplug.datasets.synthetic import camouflage_scene
from samplug.evaluation.protocols.texture import Texture
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.rle import decode_rle
from tests.conftest import ROOT
from tests.generation.test_models import OPEN, SAM2, build
from tests.processes import PythonProcess, run_python

# A few overlapping masks of each image.
GENERATOR = {**OPEN, "stability_score_thresh": 0.0}
EXPECTED = [
    f"{kind}/{folder}{prefix}{stem}.{suffix}"
    for kind, prefix, suffix in (("json", "", "json"), ("overlays", "", "jpg"))
    for folder, stem in (("", "007"), ("", "a"), ("deep/", "a"))
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A config, a checkpoint, and a folder of images with a subfolder."""
    root = tmp_path_factory.mktemp("generate")
    torch.save(dict(state_dict=build(SAM2).state_dict(), meta={}), root / "model.pth")
    (root / "tiny.py").write_text(f"default_scope = 'samplug'\nmodel = dict(type='PromptableSAM', **{SAM2!r})\n")
    for index, name in enumerate(("a.png", "007.jpg", "deep/a.png")):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), camouflage_scene(0, index, 64)[0][: 40 + index])
    return root


@pytest.fixture
def settings(home):
    return Settings(str(home / "tiny.py"), str(home / "model.pth"), generator=GENERATOR)


@pytest.fixture(scope="module")
def whole(home, tmp_path_factory):
    """All images of the home, finished; not to be changed."""
    out = tmp_path_factory.mktemp("whole")
    own = Settings(str(home / "tiny.py"), str(home / "model.pth"), generator=GENERATOR)
    assert generate(own, [home / "images"], out, recursive=True).present == 0
    return out


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def annotations(out, name):
    return json.loads((out / f"json/{name}.json").read_text())["annotations"]


def test_files(home, whole):
    files = set(contents(whole))
    masks = {name for name in files if name.startswith("masks_output/")}
    assert files - masks == {*EXPECTED, "generate.json", "generate_images.jsonl"}
    predictor = Predictor(build(SAM2))
    named = set()
    for name, source in (("007", "007.jpg"), ("a", "a.png"), ("deep/a", "deep/a.png")):
        image = cv2.imread(str(home / "images" / source))
        found = predictor.generate(image, "BGR", **GENERATOR)
        content = json.loads((whole / f"json/{name}.json").read_text())
        height, width = image.shape[:2]
        assert content["image"] == dict(file_name=source.split("/")[-1], width=width, height=height)
        assert content["annotations"] == [{"id": index, **record} for index, record in enumerate(found.records())]
        assert len(found) > 1
        for index, mask in enumerate(found.decoded()):
            path = whole / "masks_output" / name
            path = path.with_name(f"mask_{index}_{path.name}.png")
            named.add(path.relative_to(whole).as_posix())
            picture = Image.open(path)
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), mask * np.uint8(255))
        assert Image.open(whole / f"overlays/{name}.jpg").size == (width, height)
    assert masks == named


def test_scores_read_both_kinds_of_files(home, whole, tmp_path):
    """Names keep their zeros and subfolders."""
    for name in ("007", "a", "deep/a"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        height, width = cv2.imread(str(whole / f"overlays/{name}.jpg")).shape[:2]
        cv2.imwrite(str(path), np.eye(height, width, dtype=np.uint8))
    texture = Texture()
    truths = texture.find_ground_truths(tmp_path, None, True)
    for name, files in truths.files.items():
        truth = texture.read_ground_truth(files)
        read = []
        for kind in ("json", "masks_output"):
            found = texture.find_predictions(str(whole / kind), truths)
            read.append(found.read(found.files[name], truth))
        assert read[0] == read[1] == [entry["segmentation"] for entry in annotations(whole, name)]


def test_finished_images_are_left_alone(home, settings, tmp_path, whole, monkeypatch):
    shutil.copytree(whole, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out/json/007.json").unlink()
    outcome = generate(settings, [home / "images"], tmp_path / "out", recursive=True)
    assert (outcome.present, len(outcome.masks)) == (2, 3)
    after = contents(tmp_path / "out")
    del before["generate_images.jsonl"], after["generate_images.jsonl"]
    assert after == before
    monkeypatch.setattr(module, "init_model", None)  # nothing to do needs no model
    less = replace(settings, generator={**GENERATOR, "max_memory_mb": 1, "points_per_batch": 3})
    assert generate(less, [home / "images"], tmp_path / "out", recursive=True).present == 3


def test_missing_pictures_are_drawn_without_a_model(home, settings, tmp_path, whole, monkeypatch):
    outcome = generate(settings, [home / "images"], tmp_path, recursive=True, masks=False, overlay=False)
    assert sum(outcome.masks.values()) > 3
    assert {name.split("/")[0] for name in contents(tmp_path)} == {"json", "generate.json", "generate_images.jsonl"}
    monkeypatch.setattr(module, "init_model", None)
    assert generate(settings, [home / "images"], tmp_path, recursive=True).present == 0
    drawn, expected = contents(tmp_path), contents(whole)
    for name in (name for name in expected if not name.startswith("generate")):
        assert drawn[name] == expected[name], name
    # Pictures that are there stay when others are drawn again.
    (tmp_path / "overlays/a.jpg").unlink()
    generate(settings, [home / "images"], tmp_path, recursive=True, masks=False)
    assert contents(tmp_path).keys() == expected.keys()


def test_masks_of_an_earlier_run_go(home, settings, tmp_path, whole):
    shutil.copytree(whole, tmp_path / "out")
    stray = tmp_path / "out/masks_output/mask_99_a.png"  # of a killed run, in no record
    other = tmp_path / "out/masks_output/mask_99_1_a.png"  # of an image 1_a
    for path in (stray, other):
        shutil.copy(tmp_path / "out/masks_output/mask_0_a.png", path)
    fewer = replace(settings, generator={**GENERATOR, "box_nms_thresh": 0.0})
    with pytest.raises(ConfigError, match=r"other settings \(generator changed"):
        generate(fewer, [home / "images"], tmp_path / "out", recursive=True)
    assert stray.exists()
    counts = generate(fewer, [home / "images"], tmp_path / "out", recursive=True, overwrite=True).masks
    assert 0 < counts["a"] < len(annotations(whole, "a"))
    assert other.exists()
    other.unlink()
    pictures = [name for name in contents(tmp_path / "out") if name.startswith("masks_output")]
    assert len(pictures) == sum(counts.values())
    generate(fewer, [home / "images"], tmp_path / "out", recursive=True, masks=False, overlay=False, overwrite=True)
    assert not [name for name in contents(tmp_path / "out") if not name.startswith(("generate", "json"))]


def test_a_killed_run_goes_on(home, settings, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(6):
        cv2.imwrite(str(images / f"{index}.png"), camouflage_scene(1, index, 64)[0])
    generate(settings, [images], tmp_path / "unbroken")
    options = [f"{name}={value}" for name, value in GENERATOR.items()]
    command = ["tools/generate_masks.py", settings.config, settings.checkpoint, images, "--out-dir", tmp_path / "out",
               "--device", "cpu", "--set", *options]  # fmt: skip
    process = PythonProcess(command, ROOT)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out/json/1.json").is_file():  # the second of six
        assert process.returncode is None, process.communicate(5)
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate(10)
    done = list((tmp_path / "out/json").glob("*.json"))
    assert 0 < len(done) < 6
    for path in done:
        for index in range(len(json.loads(path.read_text())["annotations"])):
            assert (tmp_path / f"out/masks_output/mask_{index}_{path.stem}.png").is_file()
    run = run_python(*command, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "6 images with" in run.stdout
    assert "were there already" in run.stdout
    broken, unbroken = contents(tmp_path / "out"), contents(tmp_path / "unbroken")
    compared = [name for name in unbroken if not name.startswith("generate")]
    assert all(broken[name] == unbroken[name] for name in compared)
    left = broken.keys() - unbroken.keys()
    assert all(name.endswith(".partial") for name in left), left


def test_two_runs_at_once_into_one_folder(home, settings, tmp_path, whole, monkeypatch):
    """The second starts and ends while the first reads its second image."""
    read, numbers = module._read, iter(range(9))

    def interrupted(*arguments):
        if next(numbers) == 1:
            generate(settings, [home / "images"], tmp_path, recursive=True)
        return read(*arguments)

    monkeypatch.setattr(module, "_read", interrupted)
    assert generate(settings, [home / "images"], tmp_path, recursive=True).present == 0
    found, expected = contents(tmp_path), contents(whole)
    assert found.keys() == expected.keys()
    assert all(found[name] == expected[name] for name in expected if not name.startswith("generate"))
    monkeypatch.undo()
    assert generate(settings, [home / "images"], tmp_path, recursive=True).present == 3


def test_images_without_masks(home, tmp_path, capsys):
    """One of them is a single pixel."""
    from samplug.commands.run import main

    cv2.imwrite(str(tmp_path / "pixel.png"), np.zeros((1, 1, 3), np.uint8))
    words = [home / "tiny.py", home / "model.pth", home / "images/007.jpg", tmp_path / "pixel.png", "--out-dir",
             tmp_path / "out", "--device", "cpu", "--set", "points_per_side=2", "pred_iou_thresh=0.999"]  # fmt: skip
    assert main("generate", list(map(str, words))) == 0
    printed = capsys.readouterr().out
    assert "2 images with 0 masks in" in printed
    assert "2 images have no masks, their json/NAME.json has an empty list: 007, pixel" in printed
    assert annotations(tmp_path / "out", "pixel") == []
    assert not (tmp_path / "out/masks_output").exists()


def test_damaged_images(home, settings, tmp_path):
    shutil.copytree(home / "images", tmp_path / "images")
    (tmp_path / "images/b.png").write_bytes((tmp_path / "images/a.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"1 of 3 images have no masks, .*\n.*b.png is a truncated PNG"):
        generate(settings, [tmp_path / "images"], tmp_path / "out", formats=["coco"])
    assert set(os.listdir(tmp_path / "out/json")) == {"007.json", "a.json"}
    outcome = generate(settings, [tmp_path / "images"], tmp_path / "out", on_error="skip")
    assert list(outcome.failures) == [str(tmp_path / "images/b.png")]
    assert set(outcome.masks) == {"007", "a"}


def test_inputs_that_cannot_be_used(home, settings, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"data: .*empty holds no images"):
        generate(settings, [tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(DataError, match="missing does not exist: name image files or folders"):
        generate(replace(settings, checkpoint="no_such.pth"), [tmp_path / "missing"], tmp_path / "out")
    with pytest.raises(DataError, match="would both be written as a:"):
        generate(settings, [home / "images/a.png", home / "images/deep/a.png"], tmp_path / "out")
    with pytest.raises(ConfigError, match="did you mean points_per_side"):
        generate(replace(settings, generator=dict(points_per_sid=3)), [home / "images"], tmp_path / "out")
    with pytest.raises(ConfigError, match=r"points_per_side=1\.5 must be a whole number"):
        generate(replace(settings, generator=dict(points_per_side=1.5)), [home / "images"], tmp_path / "out")
    with pytest.raises(ConfigError, match="multimask_output='no' must be True or False"):
        generate(replace(settings, generator=dict(multimask_output="no")), [home / "images"], tmp_path / "out")
    other = replace(settings, config=str(ROOT / "configs/quickstart.py"), checkpoint="untrained")
    with pytest.raises(ConfigError, match="predicts no masks for clicks"):
        generate(other, [home / "images"], tmp_path / "out")
    name = tmp_path / f"{'x' * 250}.png"
    shutil.copy(home / "images/a.png", name)
    with pytest.raises(DataError, match=r"the masks would have a name of 2\d\d bytes"):
        generate(settings, [name], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="a later run would predict masks"):
        generate(settings, [home], home / "out", recursive=True)


def test_the_config_chooses_the_settings(home, settings, tmp_path):
    """The command line changes them, or names another preset."""
    image = [home / "images/007.jpg"]
    own = replace(settings, generator={}, cfg_options={"model.mask_generator": {"preset": "sam", **GENERATOR}})
    generate(own, image, tmp_path / "config")
    generate(settings, image, tmp_path / "options")
    assert annotations(tmp_path / "config", "007") == annotations(tmp_path / "options", "007")
    generate(replace(own, preset="sam2", generator=dict(points_per_side=2)), image, tmp_path / "preset")
    assert annotations(tmp_path / "preset", "007") == []


@pytest.mark.parametrize("format", ["coco", "labelme", "yolo"])
def test_exports(home, settings, tmp_path, format):
    """Overlapping masks stay apart; COCO has each exactly."""
    outcome = generate(settings, [home / "images"], tmp_path, formats=[format])
    masks = [entry["segmentation"] for name in ("007", "a") for entry in annotations(tmp_path, name)]
    assert sum(outcome.masks.values()) == len(masks)
    if format == "coco":
        written = json.loads((tmp_path / "coco/annotations.json").read_text())["annotations"]
        assert [entry["segmentation"] for entry in written] == masks
        assert [entry["area"] for entry in written] == [decode_rle(mask).sum() for mask in masks]
        assert outcome.objects["coco"] == len(masks)
    else:
        read = read_annotations(tmp_path / format)
        assert outcome.objects[format] >= len(masks)
        assert {region.category for image in read.images for region in image.regions} == {"object"}


def test_memory_does_not_grow_with_the_masks(home, tmp_path):
    """27 masks of 12 megapixels are 1.3 GB of logits; the image alone takes about 0.2 GB."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    image[500:1500, 1000:2500] = 30, 160, 90
    cv2.imwrite(str(tmp_path / "large.png"), image)
    script = tmp_path / "measure.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from samplug.commands.folder_masks import Settings, generate\n"
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024\n"
        "Path('/proc/self/clear_refs').write_text('5')\nstart = peak()\n"
        "generator = dict(points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0.9, max_memory_mb=0)\n"
        "generate(Settings(*sys.argv[1:3], generator=generator), [sys.argv[3]], sys.argv[4])\n"
        "print(peak() - start)\n"
    )
    run = run_python(script, home / "tiny.py", home / "model.pth", tmp_path / "large.png", tmp_path / "out", cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.splitlines()[-1]) < 500
