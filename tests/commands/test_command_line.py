"""The commands as modules: found by name, parsed without torch, open to other packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from samplug.commands import COMMANDS
from samplug.commands.run import main
from tests.conftest import ROOT

PLUGIN = '''"""Say hello.

To somebody.
"""


def add_arguments(parser):
    parser.add_argument("name")


def execute(args):
    print(f"hello {args.name}")
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that is installed beside samplug: a command, one that cannot be imported, a converter and an export format."""
    (tmp_path / "greeting.py").write_text(PLUGIN)
    (tmp_path / "exporting.py").write_text("def count(images, folder, classes):\n    return len(list(images))\n")
    info = tmp_path / "greeting-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[samplug.commands]\nhello = greeting\nbroken = no_such_module\ntrain = greeting\n"
        "[samplug.converters]\nfrom-greeting = greeting\n[samplug.exports]\ncount = exporting:count\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def lines_of(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(None, words)
    assert end.value.code == (0 if words else 2)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_overview(capsys, words):
    lines = lines_of(capsys, *words)
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert "  train            Train a model from a config" in lines
    assert max(map(len, lines)) <= 120


def test_a_command_of_another_package(installed, capsys):
    lines = lines_of(capsys, "--help")
    assert "  hello            Say hello" in lines
    assert "  broken           (cannot be imported: No module named 'no_such_module')" in lines
    assert "  train            Train a model from a config" in lines  # samplug's own names stay
    assert main(None, ["hello", "world"]) == 0
    assert capsys.readouterr().out == "hello world\n"


def test_a_converter_and_an_export_of_another_package(installed, capsys, tmp_path):
    from samplug.converters import EXPORTS, export_annotations

    assert ["from-greeting", "Say", "hello"] in [line.split() for line in lines_of(capsys, "prepare", "--help")]
    assert main("prepare", ["from-greeting", "world"]) == 0
    assert capsys.readouterr().out == "hello world\n"
    assert list(EXPORTS) == ["coco", "labelme", "yolo", "count"]
    assert export_annotations([], tmp_path / "out", "count", ()) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "error: no command is called 'trian'; did you mean train?"),
        (["zzz"], "error: no command is called 'zzz'; there are train, test,"),
        (["prepare", "masks"], "error: no converter is called 'masks'; did you mean to-masks?"),
    ],
)
def test_a_wrong_name(capsys, words, message):
    assert main(None, words) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["download"], ["analyze-clicks"], ["analyze-logs", "x", "--smooth", "0"], ["train"]])
def test_arguments_that_do_not_fit_together(capsys, words):
    with pytest.raises(SystemExit) as end:
        main(None, words)
    assert end.value.code == 2
    assert f"usage: samplug {words[0]}" in capsys.readouterr().err


# Arguments with which a command takes a config.
WITH_CONFIG = {
    "analyze-clicks": ["--baselines"], "browse": [], "check": [], "train": [], "test": [], "predict": [], "export-onnx": [], "export-weights": []
}  # fmt: skip
BEHIND = {
    "test": ["none"],
    "predict": ["none", "x", "--out-dir", "x"],
    "export-onnx": ["none", "--out", "x"],
    "export-weights": ["none", "--layout", "hf", "--out", "x"],
}


def imported_by(code):
    """Names of the modules that are imported after a piece of code in a new interpreter, and what it wrote to stderr."""
    code += "\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split()), run.stderr


def test_parsing_imports_no_torch():
    """Neither do mistakes in the name of a command, a config or a variable, nor do commands that need no model."""
    wrong = [
        [name, *words, *config, *BEHIND.get(name, [])]
        for name, words in WITH_CONFIG.items()
        for config in (["quickstat"], ["samplug::quickstat.py"], ["mmseg::a/b.py"])
    ]
    wrong += [["train", "quickstart", "--cfg-options", option] for option in ("zzz=1", "img_size=large")]
    lines = [["--help"], *([name, "--help"] for name in COMMANDS), ["prepare", "--help"], ["prepare", "to-videos", "--help"], ["zzz"],
             *wrong, ["download", "--list"], ["evaluate", "zzz"]]  # fmt: skip
    modules, said = imported_by(
        "import sys\nfrom samplug.commands.run import main\n"
        f"for words in {lines!r}:\n"
        "    try:\n        main(None, words)\n"
        "    except SystemExit:\n        pass\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    assert (
        "scipy.spatial"
        not in imported_by(
            "from samplug.commands.run import main\ntry:\n    main(None, ['--help'])\nexcept SystemExit:\n    pass"
        )[0]
    )
    assert not modules & {"transformers", "mmseg", "mmdet"}
    assert said.count("did you mean") >= 2 * len(WITH_CONFIG)


def test_a_training_imports_what_its_config_needs(tmp_path):
    """No models of mmseg and mmdet, no transformers, which take longer to import than torch."""
    options = [
        "max_iters=1",
        "train_length=2",
        "data_size=32",
        "img_size=32",
        "num_workers=0",
        "train_dataloader.batch_size=1",
    ]
    words = ["train", "quickstart", "--work-dir", str(tmp_path), "--cfg-options", *options]
    modules, said = imported_by(
        "from yapf.yapflib import yapf_api\nyapf_api.FormatCode = None\n"  # the config's text is not formatted
        f"from samplug.commands.run import main\nassert main(None, {words!r}) == 0"
    )
    assert "samplug.engine.runner" in modules, said
    assert not modules & {"mmseg.models", "mmdet.models", "transformers", "peft", "sklearn"}


def test_the_first_line_comes_before_torch():
    code = """
import sys
import samplug.commands.train as train
from samplug.commands.run import main
announce = train.announce
def stop(*args):
    announce(*args)
    raise SystemExit("build")
train.announce = stop
try:
    main("train", ["quickstart"])
except SystemExit:
    print("stopped", end="", file=sys.stderr)
"""
    modules, said = imported_by(code)
    assert said == "stopped"
    assert "torch" not in modules


def test_adafactor_is_imported_when_a_config_names_it():
    code = """
import samplug, sys, torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import OPTIMIZERS
assert "transformers" not in sys.modules
assert "Adafactor" in OPTIMIZERS.module_dict
build_optim_wrapper(torch.nn.Linear(1, 1), dict(optimizer=dict(type="AdamW", lr=1)))
assert "transformers" not in sys.modules
optimiser = build_optim_wrapper(torch.nn.Linear(1, 1), dict(optimizer=dict(type="Adafactor"))).optimizer
from transformers import Adafactor
assert type(optimiser) is Adafactor is OPTIMIZERS.get("Adafactor")
"""
    assert "transformers.optimization" in imported_by(code)[0]


@pytest.mark.parametrize("tool", sorted(path.stem for path in ROOT.glob("tools/*.py")))
def test_tools_and_commands_are_the_same(tool):
    text = (ROOT / "tools" / f"{tool}.py").read_text()
    (name,) = (name for name in COMMANDS if f'sys.exit(main("{name}"))' in text)
    assert text.splitlines()[2:] == [
        "",
        "import sys",
        "",
        "from samplug.commands.run import main",
        "",
        'if __name__ == "__main__":',
        f'    sys.exit(main("{name}"))',
    ]


def test_every_command_has_a_tool():
    texts = [path.read_text() for path in ROOT.glob("tools/*.py")]
    assert [name for name in COMMANDS if not any(f'main("{name}")' in text for text in texts)] == []


@pytest.fixture
def foreign(tmp_path):
    """A config of another project: json, without the sections that samplug's bases have."""
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(dict(work_dir=str(tmp_path / "work"), model=dict(type="Nothing"))))
    return path


def test_amp_needs_an_optimiser(foreign, capsys):
    assert main("train", [str(foreign), "--amp"]) == 1
    assert f"error: config: {foreign} has no optim_wrapper, which --amp changes" in capsys.readouterr().err


def test_pictures_of_a_config_without_hooks(foreign, monkeypatch):
    built = []

    class Runner:
        def test(self):
            pass

    monkeypatch.setattr("samplug.commands.test.build_runner", lambda cfg: built.append(cfg) or Runner())
    assert main("test", [str(foreign), "none", "--out", "masks"]) == 0
    assert built[0].default_hooks == dict(visualization=dict(type="OverlayHook", mask_dir="masks", overlay_dir=None))


@pytest.mark.parametrize(
    ("config", "folder"),
    [("samplug::quickstart.py", "quickstart"), ("quickstart", None)],
)
def test_the_work_folder_is_named_after_the_file(config, folder, monkeypatch):
    from samplug.model_index import names

    built = []
    monkeypatch.setattr("samplug.commands.train.build_runner", lambda cfg: built.append(cfg) or _Trained())
    name = config if folder else next(name for name in names() if "sam2.1" in name and "_1x" in name)
    assert main("train", [name]) == 0
    assert built[0].work_dir == str(Path("work_dirs") / (folder or name))


class _Trained:
    def train(self):
        pass
