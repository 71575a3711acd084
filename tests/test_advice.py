"""What errors advise can be done as it is printed, on the command line and in a config of one's own."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samplug.commands.options import parse
from samplug.config import load_config
from samplug.datasets import BinarySegDataset, SA1BDataset
from samplug.datasets.configs import datasets_of
from samplug.registry import DATASETS
from samplug.utils.errors import ConfigError, UserError
from tests.conftest import ROOT
from tests.datasets.broken import mask, save, sound_set
from tests.datasets.broken_folders import CASES

FOLDERS = "configs/_base_/datasets/folders.py"
SEVERAL = "configs/_base_/prompted_sa1b.py"
TEMPLATE = "projects/template/my_task.py"
PUBLISHED = sorted(
    path.stem
    for path in (ROOT / "configs/_base_/datasets").glob("*.py")
    if path.stem not in {"folders", "class_folders", "imagenet"}
)
VALUES: dict[str, Any] = dict(
    image_dir="i", mask_dir="m", ann_dir="a", img_suffix=".jpg", seg_map_suffix="_m.png", recursive=True, include="x*",
    extra_masks=True, extra_annotations=True, mask_values=dict(foreground=[1], ignore=[255]), check="all",
    size_mismatch="resize_mask", on_error="skip", ann_file="l.txt", val_fraction=0.3, test_fraction=0.3, min_area=5, max_area=0.5,
)  # fmt: skip


def messages(*folders: str) -> Iterator[str]:
    """Yield the string constants of the code, without docstrings; values in f-strings become 0."""
    for folder in folders:
        for file in sorted((ROOT / "samplug" / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                    yield node.value


def advised(kind: type) -> dict[str, Any]:
    """Return the dataset settings that messages name, except settings that differ between parts."""
    owners = [parent for parent in kind.__mro__ if parent.__module__.startswith("samplug.")]
    parameters = {name for parent in owners for name in inspect.signature(parent.__init__).parameters}
    parameters |= {"ann_file"} if kind is BinarySegDataset else set()
    words = {word for text in messages("datasets", "imaging") if " " in text for word in re.findall(r"\w+", text)}
    of_config = {"self", "part", "name", "published", "data_root", "max_objects", "folders", "kwargs"}
    return {name: VALUES[name] for name in (parameters & words) - of_config}


def datasets(config: str | Path, options: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Settings of all sets of a config."""
    cfg = load_config(ROOT / config, options)
    loaders = [cfg.get(f"{phase}_dataloader") for phase in ("train", "val", "test")]
    return [dict(dataset) for loader in loaders if loader for dataset in datasets_of(loader.dataset)]


def check_that_they_reach(config: str, settings: dict[str, Any], folder: Path) -> None:
    """Check settings on the command line, and as variables of a derived config."""
    lines = [f"_base_ = {str(ROOT / config)!r}"]
    for key, value in settings.items():
        items = ", ".join(f"{name}={part!r}" for name, part in value.items()) if isinstance(value, dict) else ""
        lines.append(f"{key} = {f'dict({items})' if items else repr(value)}")
    (folder / "derived.py").write_text("\n".join(lines) + "\n")
    for sets in (datasets(config, settings), datasets(folder / "derived.py")):
        assert len(sets) >= 2
        for dataset in sets:
            assert {key: dataset.get(key) for key in settings} == settings


@pytest.mark.parametrize(
    "config", [FOLDERS, SEVERAL, "configs/quickstart_folder.py", "projects/small/ts-sam-small_folders-128.py"]
)
def test_settings_that_messages_name_reach_all_sets(config, tmp_path):
    settings = advised(SA1BDataset if config == SEVERAL else BinarySegDataset)
    assert {"on_error", "include", "recursive", "image_dir", "test_fraction"} <= settings.keys()
    check_that_they_reach(config, settings, tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_follow_what_messages_about_their_files_advise(name, tmp_path):
    settings = {key: VALUES[key] for key in ("mask_values", "size_mismatch", "check", "on_error")}
    check_that_they_reach(f"configs/_base_/datasets/{name}.py", settings, tmp_path)


def printed(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of each complete setting in a message."""
    for key, value in re.findall(r"\b([a-z_]+)=('[^']*'|True|dict\([^()]*\))", text):
        if "..." not in value and "r, g, b" not in value:
            yield key, value


def test_advice_of_broken_folders_as_printed(tmp_path):
    found: dict[tuple[str, str], str] = {}
    for name, case in CASES.items():
        if name.startswith(
            ("image-", "mask-png", "mask-tiff", "mask-webp", "mask-bmp", "mask-absurd", "mask-animated")
        ):  # files that cannot be read: on_error alone
            continue
        case.damage(sound_set(tmp_path / name))
        try:
            BinarySegDataset(**dict(dict(data_root=str(tmp_path / name), check="all"), **case.options))
        except UserError as error:
            stated = {f"{key}={value!r}" for key, value in case.options.items()}  # said back to the user
            found |= {advice: str(error) for advice in printed(str(error)) if "=".join(advice) not in stated}
    assert {key for key, _ in found} >= {"mask_values", "size_mismatch", "on_error", "recursive"}
    for key, value in found:
        check_that_they_reach(FOLDERS, {key: parse(value.strip("'"))}, tmp_path)


def labels(root: Path) -> None:
    for index in range(8):
        save(root / f"masks/p{index}.png", mask(index) // 255 * (1 + index % 2))


def other_size(root: Path) -> None:
    save(root / "masks/p6.png", mask()[:-1])


def colours(root: Path) -> None:
    for index in range(8):
        save(root / f"masks/p{index}.png", np.dstack([mask(index), mask(index) * 0, mask(index) * 0]))


def subfolder(root: Path) -> None:
    for kind in ("images", "masks"):
        sound_set(root / "more")
        (root / "more" / kind).rename(root / kind / "more")


@pytest.mark.parametrize(
    ("damage", "key"),
    [(labels, "mask_values"), (other_size, "size_mismatch"), (other_size, "on_error"), (colours, "mask_values"), (subfolder, "recursive")],
)  # fmt: skip
def test_advice_helps(tmp_path, damage, key):
    damage(sound_set(tmp_path / "mine"))

    def build(**options: Any) -> list[Any]:
        cfg = load_config(ROOT / TEMPLATE, dict(options, data_root=str(tmp_path / "mine"), check="all"))
        return [
            DATASETS.build(cfg[f"{phase}_dataloader"].dataset | dict(pipeline=[])) for phase in ("train", "val", "test")
        ]

    with pytest.raises(UserError) as caught:
        build()
    advice = dict(reversed(list(printed(str(caught.value)))))
    assert all(len(dataset) for dataset in build(**{key: parse(advice[key].strip("'"))}))


DOTTED = sorted(
    {
        match[0]
        for text in messages("datasets", "engine", "models", "features", "evaluation", "commands")
        for match in re.finditer(
            r"\b(?:model|optim_wrapper|default_hooks|\w+_dataloader|\w+_evaluator)\.[\w.]+(?==)", text
        )
    }
)


def test_dotted_keys_that_messages_advise_are_accepted():
    assert {"optim_wrapper.clip_grad.max_norm", "train_dataloader.num_workers", "model.backbone.with_cp"} <= set(DOTTED)
    cfg = load_config(ROOT / TEMPLATE, dict.fromkeys(DOTTED, 1))
    for key in DOTTED:
        part: Any = cfg
        for name in key.split("."):
            part = part[int(name) if name.isdigit() else name]
        assert part == 1, key


@pytest.mark.parametrize(
    ("key", "config", "place"),
    [
        ("loss", TEMPLATE, "model.loss"),
        ("loss", "configs/quickstart.py", "model.loss"),
        ("loss", "configs/prompted/prompted_sam-vit-b_1xb4-20e_folders-1024.py", "model.loss"),
        ("seed", TEMPLATE, "randomness.seed"),
        ("frozen", TEMPLATE, "model.backbone.frozen"),
        ("max_iters", TEMPLATE, "max_epochs"),
        ("max_epochs", "configs/quickstart.py", "max_iters"),
        ("val_interval", TEMPLATE, "train_cfg.val_interval"),
        ("save_best", TEMPLATE, "default_hooks.checkpoint.save_best"),
        ("part", TEMPLATE, "train_dataloader.dataset.part"),
        ("weight_decay", TEMPLATE, "optim_wrapper.optimizer.weight_decay"),
        ("img_sizes", TEMPLATE, "img_size"),
    ],
)
def test_a_key_that_is_not_at_the_top_names_its_place(key, config, place):
    with pytest.raises(ConfigError, match=rf"declares no '{key}' .*(it has|did you mean) .*{re.escape(place)}"):
        load_config(ROOT / config, {key: 1})


@pytest.mark.parametrize(
    "config", [TEMPLATE, "projects/small/ts-sam-small_folders-128.py", "configs/quickstart_folder.py"]
)
def test_keys_that_everyone_tries_first(config):  # fmt: skip
    options = dict(lr=1e-3, batch_size=3, img_size=64, data_root="d", work_dir="w", num_workers=0)
    cfg = load_config(ROOT / config, options)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.train_dataloader.batch_size == 3
    assert cfg.model.backbone.img_size == 64
    assert {
        dataset.data_root for dataset in datasets_of([cfg.train_dataloader.dataset, cfg.test_dataloader.dataset])
    } == {"d"}
    assert cfg.work_dir == "w"
