"""Commands of the README and of docs/ run as they are written, or say what they need."""

import contextlib
import functools
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from markdown_it import MarkdownIt

from samplug.config import load_config
from samplug.datasets.synthetic import camouflage_scene
from tests import doc_commands
from tests.conftest import ROOT
from tests.doc_commands import find_commands, program

PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("configs/*/README.md")),
    *sorted(ROOT.glob("projects/**/README.md")),
]
# Of the configs' variables: a run takes seconds.
TINY = {"train_length": 16, "test_length": 4, "data_size": 48, "img_size": 32, "batch_size": 2, "max_iters": 40}
FEWER = {"max_iters=200": "max_iters=40", "max_iters=300": "max_iters=40", "iter_200.pth": "iter_40.pth", "max_iters=600": "max_iters=2", "iter_600.pth": "iter_2.pth", "iter_300.pth": "iter_40.pth",
         "CONFIG": "configs/quickstart.py", "CHECKPOINT": "first.pth"}  # fmt: skip


def smaller(word):
    return functools.reduce(lambda text, pair: text.replace(*pair), FEWER.items(), word)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The commands' folder: tools and configs, these with small numbers, and the data that the pages speak of."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("tools", "projects"):
        (root / folder).symlink_to(ROOT / folder)
    shutil.copytree(ROOT / "configs", root / "configs")
    for file in (root / "configs/quickstart.py", root / "configs/_base_/camouflage_generated.py"):
        text = file.read_text()
        for name, value in TINY.items():
            text = re.sub(rf"^{name} = \d+$", f"{name} = {value}", text, flags=re.MULTILINE)
        file.write_text(text)
    for index in range(10):
        image, mask = camouflage_scene(3, index, 48)
        for folder, picture in {
            "photos": image,
            "path/to/folder/images": image,
            "path/to/folder/masks": (mask > 0) * 255,
        }.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{index}.png"), picture)
    return root


@pytest.fixture(scope="module")
def failed(checkout):
    """Page -> its first command that failed, and what all printed; they run in one interpreter, in the order of PAGES."""
    train = ["python", "tools/train.py", "configs/quickstart.py", "--work-dir", "first"]
    tasks = {"before": [train, ["cp", "first/iter_40.pth", "first.pth"]]}
    for page in PAGES:
        tasks[str(page)] = [
            [smaller(word) for word in command.words] for command in find_commands(page) if not command.needs
        ]
    file = checkout / "commands.json"
    file.write_text(json.dumps(tasks))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tests.doc_commands", str(file)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((checkout / "failed.json").read_text())
    assert "before" not in found, done.stdout[-2000:] + done.stderr[-2000:]
    return {page: f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}" for page, command in found.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run(page, failed):
    """All that are not marked; a new one is run, too, or carries ``<!-- needs: ... -->`` before its block."""
    assert str(page) not in failed, failed[str(page)]


def test_what_the_pages_say_is_there(checkout, failed):
    """Files that the tour and the loop of predict.md name."""
    for path in ("work_dirs/tour_data/sheet.jpg", "work_dirs/tour/curves.png", "work_dirs/tour_test/masks", "work_dirs/scenes/masks/39.png",
                 "work_dirs/tour_predictions/overlays/00.jpg", "round1/labelme/0.json", "set1/images/0.png", "set1/masks/0.png",
                 "work_dirs/round2/iter_40.pth", "round2/maps/0.png", "work_dirs/clicked.png", "work_dirs/clicked_2.png"):  # fmt: skip
        assert (checkout / path).exists(), path
    assert any(cv2.imread(str(path)).any() for path in (checkout / "set1/masks").iterdir())


@functools.cache
def options(words):
    """What ``--help`` of a command lists."""
    argv, sys.argv = sys.argv, [*words, "--help"]
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    finally:
        sys.argv = argv
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text.getvalue()))


def of_tool(words):
    """Script of a command, with its subcommand, and the options it is given."""
    words = [word.strip("[]") for word in words]
    at = next((i for i, word in enumerate(words) if re.fullmatch(r"(tools|benchmarks)/\w+\.(py|sh)", word)), None)
    if at is None:
        return None
    script = re.sub(r"(dist|slurm)_(\w+)\.sh", r"\2.py", words[at])
    subcommands = words[at + 1 : at + 2] if Path(script).stem in ("evaluate_masks", "prepare_data") else []
    return (script, *(name.split("|")[0] for name in subcommands)), {
        word for word in words[at + 1 :] if re.match(r"--?[a-z]", word)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page):
    """Of commands, marked or not, and of commands inside the text."""
    inline = [code.split() for code in re.findall(r"`([^`\n]*\b(?:tools|benchmarks)/[^`\n]*)`", page.read_text())]
    for words in [*(command.words for command in find_commands(page)), *inline]:
        if found := of_tool(words):
            script, given = found
            assert (ROOT / script[0]).exists(), words
            if given:
                assert given <= options(script), f"{words}: {given - options(script)}"


# Options in the text that are other programs'.
FOREIGN = {"--gpus", "--shm-size", "--user", "--no-deps", "--extra-index-url", "--index-url", "-c", "-e"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_the_text_exist(page):
    """Of ``--this`` without its command: in one of the tools."""
    named = re.findall(r"`(--?[a-z][\w-]*)", page.read_text())
    scripts = [(str(tool.relative_to(ROOT)),) for tool in sorted(ROOT.glob("tools/*.py"))]
    scripts += [
        ("tools/evaluate_masks.py", "saliency"),
        ("tools/evaluate_masks.py", "shadow"),
        ("tools/evaluate_masks.py", "texture"),
        *(
            ("tools/prepare_data.py", command)
            for command in ("to-masks", "to-sa1b", "frames", "to-videos", "ade20k", "texture-augment")
        ),
    ]
    assert set(named) <= FOREIGN.union(*map(options, scripts))


def config_blocks():
    blocks = []
    for page in PAGES:
        tokens = MarkdownIt().parse(page.read_text())
        blocks += [
            (page, token.content) for token in tokens if token.type == "code_block" and "_base_ = " in token.content
        ]
    return blocks


@pytest.mark.parametrize(("page", "text"), config_blocks(), ids=lambda value: getattr(value, "name", ""))
def test_configs_in_the_pages_load(page, text, tmp_path):
    """From the folder that their ``_base_`` is relative to."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    bases = re.findall(r"'([\w./-]+\.py)'", text.split("\n", 1)[0])
    assert bases
    folders = [tmp_path, tmp_path / "configs", tmp_path / "configs/tssam"]
    folder = next(folder for folder in folders if all((folder / base).exists() for base in bases))
    (folder / "mine.py").write_text(text)
    assert load_config(folder / "mine.py").model.type == "TSSAM"


def test_commands_name_known_programs():
    programs = {program(command.words) for page in PAGES for command in find_commands(page)}
    assert programs <= set(doc_commands.PROGRAMS)
