"""Read what tests of linear probes and of nearest neighbours leave in their work directories."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samplug.commands.run_logs import resolved_config
from samplug.evaluation.protocols import NearestNeighbours, Scores, TopK
from samplug.evaluation.published_probes import CLASSES, IMAGENET_VAL, IMAGES, published_probes
from samplug.utils.errors import DataError
from samplug.utils.files import read_json

_LARGEST_FILE = 2**30  # a row for each of a million images
_OWN = (*TopK.columns, *NearestNeighbours.columns)


@dataclass
class ProbeRun:
    """Scores of one probe.

    Attributes:
        name: Name of the run.
        encoder: Class and size of the encoder, ``'DINOv2ViT vits14'``.
        readout: Source and poolings that are read, ``'trunk: cls'``.
        head: Name of the head that was tested; empty without one.
        images: Number of tested images; None if it is not recorded.
        scores: Metric -> value in percent.
        classes: Class -> ``images`` and scores; empty without a file of scores.
        confusions: ``[class, predicted class, images]``, the most frequent first.
        published: Source -> published scores of this encoder on the same images.
        notes: What could not be read.
    """

    name: str
    encoder: str = "?"
    readout: str = "?"
    head: str = ""
    images: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    classes: dict[str, Scores] = field(default_factory=dict)
    confusions: list[tuple[str, str, int]] = field(default_factory=list)
    published: dict[str, Scores] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_probe(folder: Path, name: str | None = None) -> ProbeRun:
    """Read the tests in a work directory; of two with the same metric the later one counts.

    Raises:
        DataError: There is no such folder, it has no test of a classifier, or a file of scores is broken.
    """
    if not folder.is_dir():
        raise DataError(f"probe: {folder} is no folder: name a work directory of tools/test.py")
    tests = list(_tests(folder))
    if not tests:
        raise DataError(
            f"probe: {folder} has no finished test with top-1 or k-NN scores: run tools/test.py CONFIG CHECKPOINT "
            f"--work-dir {folder}"
        )
    run = ProbeRun(name or folder.resolve().name)
    for place, scores in tests:
        cfg = resolved_config(place)
        run.scores |= scores
        run.encoder, run.readout, arch = _describe(cfg.get("model") or {})
        tested = list(_parts(_record(place).get("data", {}).get("test") or {}))
        run.images = sum(part.get("length") or 0 for part in tested) or None
        run.published = published_probes(*arch) if any(map(_is_imagenet_val, tested)) else {}
        if "top1" in scores:
            run.head, run.classes, run.confusions, run.notes = "", {}, [], []
            _read_scores(run, cfg, folder)
    if not run.classes and "top1" in run.scores and not run.notes:
        run.notes.append(
            "no accuracy of each class: test with --cfg-options test_evaluator.0.out_file="
            f"{folder / 'scores.json'} of TopKAccuracy"
        )
    return run


def _tests(folder: Path) -> Iterator[tuple[Path, dict[str, float]]]:
    """Yield log folder and scores of each finished test, in order of time."""
    # A log folder or a work directory; names are start times, so sorting puts them in order.
    for place in sorted([folder] if (folder / "vis_data").is_dir() else folder.glob("*")):
        last = (_record(place).get("runs") or [{}])[-1]
        if last.get("kind") == "test" and last.get("outcome") == "finished":
            found = _json(place / f"{place.name}.json")
            scores = {key: float(value) for key, value in found.items() if _is_score(key, value)}
            if scores:
                yield place, scores


def _record(place: Path) -> dict[str, Any]:
    from samplug.engine.hooks.run_record import RECORD

    return _json(place / RECORD)


def _json(path: Path) -> dict[str, Any]:
    """Read a file that a run may have left; empty without one, or if it is cut off."""
    with suppress(DataError):
        content = read_json(path)
        if isinstance(content, dict):
            return content
    return {}


def _is_score(key: str, value: Any) -> bool:
    known = key in _OWN or key == "mean_per_class" or key.startswith(NearestNeighbours.columns)
    return known and isinstance(value, int | float)


def _describe(model: Mapping[str, Any]) -> tuple[str, str, tuple[str, str]]:
    """Return the encoder and the readout as text, and the encoder's class and size."""
    backbone = model.get("backbone") or {}
    backbone = backbone.get("encoder") or backbone  # of a wrapper
    kind, arch = str(backbone.get("type", "?")).rpartition(".")[2], backbone.get("arch", "?")
    if isinstance(arch, Mapping):
        depth = arch.get("depth") or sum(arch.get("stages") or [0])
        arch = f"{depth} x {arch.get('embed_dims', '?')}"
    readout = model.get("readout") or {}
    poolings = ", ".join(map(str, readout.get("poolings") or ["mean"]))
    return f"{kind} {arch}", f"{readout.get('source', 'trunk')}: {poolings}", (kind, str(arch))


def _parts(summary: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the summaries of the tested sets in ``run.json``, without banks."""
    for part in summary.get("datasets") or [summary]:
        if not str(part.get("name", "")).endswith(" bank"):
            yield part


def _is_imagenet_val(part: Mapping[str, Any]) -> bool:
    classes = str(part.get("facts", "")).startswith(f"{CLASSES} classes")
    return part.get("name") == IMAGENET_VAL and part.get("length") == IMAGES and classes


def _read_scores(run: ProbeRun, cfg: Mapping[str, Any], folder: Path) -> None:
    """Read the file of :class:`TopKAccuracy` that the config names, or that was moved with the work directory."""
    metrics = cfg.get("test_evaluator") or []
    for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
        if "TopKAccuracy" not in str(metric.get("type")) or not metric.get("out_file"):
            continue
        own = Path(metric["out_file"])
        path = own if own.is_file() else folder / own.name
        if not path.is_file():
            run.notes.append(f"{own}, the out_file of its test, does not exist: no accuracy of each class")
            continue
        content = read_json(path, _LARGEST_FILE)
        if not isinstance(content, dict) or content.get("protocol") != TopK.name or "classes" not in content:
            raise DataError(f"probe: {path} has no scores of TopKAccuracy: test again with this out_file")
        if content["summary"].get("top1") != run.scores.get("top1"):
            run.notes.append(f"{path} is from another test: no accuracy of each class")
            continue
        run.head = content.get("head", "")
        run.classes = content["classes"]
        run.confusions = [(str(true), str(found), int(number)) for true, found, number in content["confusions"]]
