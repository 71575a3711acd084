"""Predict images without ground truth into a folder: masks, probabilities, overlays and exported annotations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import track

from samplug.apis.inferencer import Inferencer
from samplug.apis.prediction import MAPS, MASKS, OVERLAYS
from samplug.commands.prediction_records import facts_of, result_file
from samplug.commands.result_folder import ResultFolder, stamp_of
from samplug.config import load_config
from samplug.converters.from_masks import LabelledImage, export_annotations
from samplug.datasets.configs import datasets_of
from samplug.imaging.files import read_mask
from samplug.imaging.rasters import Bands
from samplug.imaging.sources import Source
from samplug.registry import DATASETS
from samplug.utils.errors import DataError
from samplug.utils.text import indented


@dataclass(frozen=True)
class Settings:
    """Everything besides the images that the predictions of a folder depend on.

    Attributes:
        config: Config file.
        checkpoint: See :func:`samplug.apis.init_model`.
        cfg_options: Changes to the config.
        tile: See :class:`samplug.apis.Inferencer`; likewise ``overlap``, ``threshold`` and ``bands``.
        overlap: Least share of a tile that it has in common with its neighbour.
        threshold: Probability above which a pixel is foreground.
        bands: Numbers of the bands of TIFF files that are read as red, green, blue.
    """

    config: str
    checkpoint: str
    cfg_options: Mapping[str, Any] = field(default_factory=dict)
    tile: int | Literal["auto"] | None = None
    overlap: float = 0.25
    threshold: float | None = None
    bands: Bands | None = None

    def stamp(self, cfg: Any) -> dict[str, Any]:
        """Return the values for json, with a hash of the loaded config and the checkpoint's size and time."""
        return stamp_of(asdict(self), cfg, self.checkpoint)


@dataclass(frozen=True)
class Outcome:
    """Result of :func:`predict`.

    Attributes:
        predicted: Number of images that were predicted.
        present: Number of images that an earlier run had finished.
        failures: File -> reason why it could not be predicted.
        objects: Format -> number of exported objects.
    """

    predicted: int
    present: int
    failures: Mapping[str, str]
    objects: Mapping[str, int]


def predict(
    settings: Settings,
    images: Sequence[str | Path],
    out_dir: str | Path,
    device: str | None = None,
    batch_size: int = 1,
    recursive: bool = False,
    overlay: bool = True,
    formats: Sequence[str] = (),
    overwrite: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
) -> Outcome:
    """Predict images into ``masks/``, ``maps/`` and ``overlays/``, see :meth:`samplug.apis.Prediction.save`.

    An interrupted run continues: images whose size and modification time have not changed and whose result files can
    be read are skipped. Files are written whole or not at all. ``predict.json`` stores the settings, so that
    predictions of two models are never mixed; ``predict_images.jsonl`` lists the finished images.

    Args:
        settings: Model and options.
        images: Files and folders.
        out_dir: Folder of the results.
        device: torch device; None: the GPU if there is one.
        batch_size: Images or tiles in a forward pass.
        recursive: Look into subfolders of folders, and keep them in the names.
        overlay: Write overlays.
        formats: Names of :data:`samplug.converters.EXPORTS`; all masks are exported to a folder ``FORMAT/`` each.
        overwrite: Predict all images again, and replace exports.
        on_error: ``'skip'`` leaves out images that cannot be read. ``'stop'`` raises an error for them after all other
            images are predicted.

    Raises:
        DataError: There are no images, two images have the same name, images cannot be read, or results exist already
            or cannot be written.
        ConfigError: ``out_dir`` lies in a folder of images, or holds predictions of other settings.
        WeightsError: See :func:`samplug.apis.init_model`.
    """
    out = Path(out_dir).expanduser()
    folder = ResultFolder("predict", out)
    names = {"the predictions": "{}.png", **({"labelme": "{}.json"} if "labelme" in formats else {})}
    sources = folder.plan(images, recursive, names)
    exports = folder.exports(formats, overwrite)
    cfg = load_config(settings.config, settings.cfg_options)
    stamp = settings.stamp(cfg)
    begun, records = folder.has_begun(stamp, overwrite), folder.records
    kinds = [MASKS, MAPS, *([OVERLAYS] if overlay else [])]
    waiting = [
        source
        for source in sources
        if not (begun and records.is_done(source, [result_file(out, kind, source.name) for kind in kinds]))
    ]
    facts = {source.name: facts_of(source.path) for source in waiting if source.path}
    failures: dict[str, str] = {}
    if waiting:
        inferencer = Inferencer(
            cfg, settings.checkpoint, device, batch_size, settings.tile, settings.overlap, settings.threshold,
            settings.bands,
        )  # fmt: skip
        if not begun:  # written after the model is built, so that settings without a model leave no record
            folder.begin(stamp, records)
        console = Console(stderr=True)
        for prediction in track(
            inferencer.stream(waiting, on_error="skip"), "predicting", len(waiting), console=console,
            disable=not console.is_terminal,
        ):  # fmt: skip
            records.add(prediction.source, facts.get(prediction.name), prediction.save(out, overlay))
        failures = inferencer.failures
    objects = {}
    for format, place in exports.items():
        labelled = _labelled(sources, out, failures, _is_binary(cfg))
        objects[format] = export_annotations(labelled, place, format, class_names(cfg), overwrite)
    if failures and on_error == "stop":
        raise DataError(
            f"predict: {len(failures)} of {len(sources)} images could not be predicted, all others are in {out}; "
            f"mend them, or pass --on-error skip:\n{indented(failures.values())}"
        )
    return Outcome(len(waiting) - len(failures), len(sources) - len(waiting), failures, objects)


def class_names(cfg: Any) -> Sequence[str]:
    """Return the class names of a config's test set by index; ``class_N`` where it states none."""
    if _is_binary(cfg):
        return ("background", "foreground")
    dataset: Any = next(datasets_of((cfg.get("test_dataloader") or {}).get("dataset")), {})
    stated = (dataset.get("metainfo") or {}).get("classes")
    kind = dataset.get("type")  # a class in configs of Python's imports
    with DATASETS.switch_scope_and_registry(cfg.get("default_scope", "samplug")) as registry:
        known = registry.get(kind) if isinstance(kind, str) else kind
    names = stated or getattr(known, "METAINFO", {}).get("classes") or ()
    number = _channels(cfg)
    return names if len(names) == number else [f"class_{index}" for index in range(number)]


def _is_binary(cfg: Any) -> bool:
    return _channels(cfg) == 1


def _channels(cfg: Any) -> int:
    """Return the number of logits per pixel that samplug's model states, or the (last) head of mmseg's."""
    heads = cfg.model.get("decode_head") or {}
    head = heads[-1] if isinstance(heads, list) else heads
    return cfg.model.get("num_classes") or head.get("out_channels") or head.get("num_classes") or 1


def _labelled(
    sources: Sequence[Source], out: Path, failures: Mapping[str, str], binary: bool
) -> Iterator[LabelledImage]:
    for source in sources:
        mask = result_file(out, MASKS, source.name)
        if source.path is None or mask is None or str(source.path) in failures:
            continue
        labels = read_mask(mask)
        yield LabelledImage(source.name, source.path, (labels > 127).astype(np.uint8) if binary else labels)
