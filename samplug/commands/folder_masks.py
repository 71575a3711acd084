"""Generate masks of everything in the images of folders: COCO RLE, mask pictures, overlays, exported annotations."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.runner.amp import autocast
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from samplug.apis.model import init_model
from samplug.commands.prediction_records import PredictionRecords, facts_of
from samplug.commands.result_folder import ResultFolder, stamp_of
from samplug.config import load_config
from samplug.converters.from_masks import SegmentedImage, export_annotations
from samplug.converters.text_files import write_json
from samplug.generation import GeneratorSettings, MaskGenerator
from samplug.imaging.rasters import Bands
from samplug.imaging.sources import Source
from samplug.utils.errors import DataError
from samplug.utils.files import read_json
from samplug.utils.rle import RLE, decode_rle
from samplug.utils.text import indented
from samplug.visualization import draw_masks, write_picture

JSON, MASKS, OVERLAYS = "json", "masks_output", "overlays"
_MASK_NAME = re.compile(r"mask_(\d+)_(.+)\.png", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """Everything besides the images that the masks of a folder depend on.

    Attributes:
        config: Config file of a :class:`samplug.models.PromptableSAM`.
        checkpoint: See :func:`samplug.apis.init_model`.
        cfg_options: Changes to the config.
        preset: See :meth:`samplug.generation.MaskGenerator.of`.
        generator: Changes to the preset, see :class:`samplug.generation.GeneratorSettings`.
        bands: Numbers of the bands of TIFF files that are read as red, green, blue.
    """

    config: str
    checkpoint: str
    cfg_options: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    generator: Mapping[str, Any] = field(default_factory=dict)
    bands: Bands | None = None

    def stamp(self, cfg: Any) -> dict[str, Any]:
        """Return the values for json, without those that change no mask (memory, size of batches)."""
        values = asdict(self)
        values["generator"] = {
            name: value for name, value in self.generator.items() if name not in ("max_memory_mb", "points_per_batch")
        }
        return stamp_of(values, cfg, self.checkpoint)


@dataclass(frozen=True)
class Outcome:
    """Result of :func:`generate`.

    Attributes:
        masks: Image -> number of its masks, for all images that are done.
        present: Number of images that an earlier run had finished.
        failures: File -> reason why no masks were generated.
        objects: Format -> number of exported objects.
    """

    masks: Mapping[str, int]
    present: int
    failures: Mapping[str, str]
    objects: Mapping[str, int]


def generate(
    settings: Settings,
    images: Sequence[str | Path],
    out_dir: str | Path,
    device: str | None = None,
    recursive: bool = False,
    masks: bool = True,
    overlay: bool = True,
    formats: Sequence[str] = (),
    overwrite: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
) -> Outcome:
    """Generate masks of everything in images.

    Files of an image NAME (its path without suffix, relative to the folder that was given):

    * ``json/NAME.json`` in SA-1B's layout: ``image``, and ``annotations``, see :meth:`GeneratedMasks.records`, with an
      ``id`` each. The list is empty if there is no mask. It is written last: an image that has it is done.
    * ``masks_output/mask_I_NAME.png`` (0 and 255), I from 0 in the order of the annotations; in a subfolder it is
      ``masks_output/FOLDER/mask_I_STEM.png``. Those of an earlier run that are not replaced are removed.
    * ``overlays/NAME.jpg``.

    Images that have the size and time of an earlier run, and whose files are whole, are left alone; pictures that are
    missing are drawn from the json. ``generate.json`` keeps the settings, so that masks of two models are never mixed.

    Args:
        settings: Model and options.
        images: Files and folders.
        out_dir: Folder of the results.
        device: torch device; None: the GPU if there is one.
        recursive: Look into subfolders of folders, and keep them in the names.
        masks: Write pictures of the masks.
        overlay: Write overlays.
        formats: Names of :data:`samplug.converters.EXPORTS`; all masks are exported to a folder ``FORMAT/`` each.
        overwrite: Generate all again, and replace exports.
        on_error: ``'skip'``: images that cannot be read are left out. ``'stop'``: they raise an error when all others
            are done.

    Raises:
        DataError: No images, two of one name, images that cannot be read, results that are in the way or cannot be
            written.
        ConfigError: The model predicts no masks for clicks, a setting is wrong, or ``out_dir`` lies in a folder of
            images or holds masks of other settings.
        WeightsError: See :func:`samplug.apis.init_model`.
    """
    folder = ResultFolder("generate", Path(out_dir).expanduser())
    # A grid of 64 x 64 points has up to 12288 masks.
    names = {"annotations": "{}.json", **({"the masks": "mask_12287_{}.png"} if masks else {})}
    sources = folder.plan(images, recursive, names)
    exports = folder.exports(formats, overwrite)
    GeneratorSettings.of(settings.preset or "sam2", **settings.generator)  # mistakes are found before weights are read
    cfg = load_config(settings.config, settings.cfg_options)
    stamp = settings.stamp(cfg)
    begun, records = folder.has_begun(stamp, overwrite), folder.records
    files = _Files(folder.path, records, masks, overlay)
    waiting = [source for source in sources if not (begun and files.are_whole(source))]
    undone = [source for source in waiting if not (begun and files.has_masks(source))]
    model = None
    if undone:
        model = init_model(cfg, settings.checkpoint, device)
        generator = MaskGenerator.of(model, settings.preset, **settings.generator)
    if not begun:  # written when the model is built: settings that build no model have no masks
        folder.begin(stamp, records)
    failures: dict[str, str] = {}
    counts = {source.name: records.values(source).get("masks", 0) for source in sources}
    console = Console(stderr=True)
    again = {source.name for source in undone}
    for source in track(waiting, "generating", console=console, disable=not console.is_terminal):
        facts = facts_of(source.path) if source.path else None
        try:
            image = _read(source, settings.bands)
        except DataError as error:
            failures[str(source.path)] = str(error).removeprefix("data: ")
            continue
        if source.name in again:
            with autocast(enabled=bool((cfg.get("test_cfg") or {}).get("fp16", False))):
                annotations = generator.generate(model, np.ascontiguousarray(image[..., ::-1])).records()
        else:
            annotations = files.annotations(source)
        written = files.write(source, image, annotations, source.name in again)
        records.add(source, facts, written, masks=len(annotations))
        counts[source.name] = len(annotations)
    done = [source for source in sources if str(source.path) not in failures]
    objects = {}
    for format, place in exports.items():
        objects[format] = export_annotations(
            map(files.segmented, done), place, format, ("background", "object"), overwrite
        )
    if failures and on_error == "stop":
        raise DataError(
            f"generate: {len(failures)} of {len(sources)} images have no masks, all others are in {folder.path}; mend "
            f"them, or pass --on-error skip:\n{indented(failures.values())}"
        )
    return Outcome(
        {source.name: counts[source.name] for source in done}, len(sources) - len(waiting), failures, objects
    )


class _Files:
    """Files of each image in a folder of generated masks.

    Args:
        out: The folder.
        records: Images that are done.
        masks: Pictures of the masks are wanted.
        overlay: Overlays are wanted.
    """

    def __init__(self, out: Path, records: PredictionRecords, masks: bool, overlay: bool) -> None:
        self.out, self.records, self.masks, self.overlay = out, records, masks, overlay
        # Image -> pictures of its masks, also those that no record names: a killed run may have left some.
        self.present: dict[str, list[Path]] = defaultdict(list)
        for path in (out / MASKS).rglob("mask_*.png"):
            if match := _MASK_NAME.fullmatch(path.name):
                parent = path.parent.relative_to(out / MASKS)
                self.present[(parent / match[2]).as_posix()].append(path)

    def has_masks(self, source: Source) -> bool:
        """Return True if the json of an image is whole."""
        return self.records.is_done(source, [self._json(source)])

    def are_whole(self, source: Source) -> bool:
        """Return True if all files of an image that are wanted are whole."""
        number = self.records.values(source).get("masks", 0)
        files = [self._json(source), *(self._mask(source, index) for index in range(number if self.masks else 0))]
        return self.records.is_done(source, [*files, *([self._overlay(source)] if self.overlay else [])])

    def annotations(self, source: Source) -> list[dict[str, Any]]:
        """Read the annotations of an image that has masks."""
        return self._content(source)["annotations"]

    def segmented(self, source: Source) -> SegmentedImage:
        """Read the masks of an image for an export."""
        content = self._content(source)
        shape = content["image"]["height"], content["image"]["width"]
        assert source.path is not None
        return SegmentedImage.of(source.name, source.path, shape, _rles(content["annotations"]))

    def write(
        self, source: Source, image: NDArray[np.uint8], annotations: Sequence[dict[str, Any]], new: bool
    ) -> list[Path]:
        """Write the files of an image, and remove pictures of earlier masks.

        Args:
            source: The image.
            image: Its pixels, (H, W, 3) uint8 BGR.
            annotations: Records of its masks.
            new: They differ from those that the pictures of an earlier run show.

        Returns:
            The files.
        """
        path = self._json(source)
        rles = _rles(annotations)
        path.unlink(missing_ok=True)
        pictures = [self._mask(source, index) for index in range(len(rles))]
        files = pictures if self.masks else []
        current = files if new else [*pictures, self._overlay(source)]
        for stale in {*self.present.pop(source.name, ()), self._overlay(source)}.difference(current):
            stale.unlink(missing_ok=True)
        for file, mask in zip(files, map(decode_rle, rles), strict=False):
            write_picture(file, mask.view(np.uint8) * np.uint8(255))
        if self.overlay:
            files = [*files, self._overlay(source)]
            largest_first = sorted(range(len(rles)), key=lambda index: -annotations[index]["area"])
            write_picture(files[-1], draw_masks(image, (decode_rle(rles[index]) for index in largest_first)))
        assert source.path is not None
        height, width = image.shape[:2]
        content = {
            "image": {"file_name": source.path.name, "width": width, "height": height},
            "annotations": [
                {"id": index, **annotation, "stability_score": _number(annotation["stability_score"])}
                for index, annotation in enumerate(annotations)
            ],
        }
        write_json(path, content)
        return [path, *files]

    def _content(self, source: Source) -> dict[str, Any]:
        path = self._json(source)
        content = read_json(path)
        try:
            _rles(content["annotations"])
            return {"image": dict(content["image"]), "annotations": list(content["annotations"])}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"data: {path} is not a file of generated masks: remove it, and run again") from error

    def _json(self, source: Source) -> Path:
        return self.out / JSON / f"{source.name}.json"

    def _overlay(self, source: Source) -> Path:
        return self.out / OVERLAYS / f"{source.name}.jpg"

    def _mask(self, source: Source, index: int) -> Path:
        place = self.out / MASKS / source.name
        return place.with_name(f"mask_{index}_{place.name}.png")


def _rles(annotations: Sequence[Mapping[str, Any]]) -> list[RLE]:
    return [annotation["segmentation"] for annotation in annotations]


def _number(value: float | None) -> float | None:
    """Return a number that JSON knows: NaN, the stability of an empty mask, becomes null."""
    return None if value is None or math.isnan(value) else value


def _read(source: Source, bands: Bands | None) -> NDArray[np.uint8]:
    raster = source.open(bands)
    height, width = raster.shape
    return raster.crop(slice(0, height), slice(0, width))
