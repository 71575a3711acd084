"""Predict images of any kind with a trained model."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner.amp import autocast
from mmengine.structures import PixelData

from samplug.apis.model import init_model
from samplug.apis.prediction import Prediction
from samplug.datasets.configs import pipelines_of, step_name
from samplug.engine.build_errors import named_in
from samplug.generation import GeneratedMasks, MaskGenerator
from samplug.imaging.rasters import Bands, Raster
from samplug.imaging.sources import Source, find_sources
from samplug.imaging.tiles import Canvas, Tile, cut
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.imports import quiet_optional_operators
from samplug.utils.model_outputs import as_logits, outputs_of
from samplug.utils.text import indented

with quiet_optional_operators():
    from mmseg.structures import SegDataSample


class _Job:
    """An image, and the part of its prediction that is done."""

    def __init__(self, source: Source, raster: Raster, tiles: list[Tile]) -> None:
        self.source, self.raster, self.tiles = source, raster, tiles
        self.canvas = Canvas(raster.shape)
        self.done = 0


class Inferencer:
    """Predict files, folders and arrays by the config's test pipeline, without loading ground truth.

    The predictions equal those of the command ``test``, to the bit on one machine at one batch size.

    Example::

        inferencer = Inferencer("configs/quickstart.py", "work_dirs/quickstart/iter_1300.pth")
        for prediction in inferencer.stream("photos", recursive=True):
            print(prediction.name, prediction.mask.mean())

    Args:
        model: A model of :func:`init_model`, which is put into evaluation mode, or its config.
        checkpoint: See :func:`init_model`; only with a config, as ``device`` and ``cfg_options``.
        device: torch device; None: the GPU if there is one.
        batch_size: Images or tiles in a forward pass.
        tile: ``'auto'``: images larger than the model's input are predicted in overlapping tiles of its size. A number:
            tiles of that many pixels, each resized to the input size. None: whole images are resized to the input size,
            as in a test.
        overlap: Least share of a tile that it has in common with its neighbour, in [0, 1).
        threshold: Probability above which a pixel is foreground; None: the model's own. For one class.
        bands: Numbers (from 1) of the bands of TIFF files and arrays that are read as red, green and blue; None: see
            :mod:`samplug.imaging.rasters`.
        cfg_options: Changes to the config.

    Attributes:
        failures: File, or name of an array, -> reason why it could not be read, in the last call.

    Raises:
        ConfigError: A value out of range, or a config without test pipeline.
        WeightsError: See :func:`init_model`.
    """

    def __init__(
        self,
        model: BaseModel | str | Path | Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 1,
        tile: int | Literal["auto"] | None = None,
        overlap: float = 0.25,
        threshold: float | None = None,
        bands: Bands | None = None,
        cfg_options: Mapping[str, Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"predict: batch_size={batch_size} must be at least 1")
        if not 0 <= overlap < 1:
            raise ConfigError(f"predict: overlap={overlap} is not in [0, 1)")
        if threshold is not None and not 0 <= threshold < 1:
            raise ConfigError(f"predict: threshold={threshold} is not in [0, 1)")
        if not isinstance(model, BaseModel):
            model = init_model(model, checkpoint, device, cfg_options)
        elif checkpoint or device or cfg_options:
            raise ConfigError("predict: a model has its checkpoint, device and cfg_options already: leave them out")
        cfg: Any = getattr(model, "cfg", None)
        if cfg is None:
            raise ConfigError("predict: the model has no config: build it by init_model, or set model.cfg")
        self.model: Any = model.eval()
        self.batch_size, self.overlap, self.threshold, self.bands = batch_size, overlap, threshold, bands
        self.tile = self._tile_size(tile)
        self.mixed_precision = bool((cfg.get("test_cfg") or {}).get("fp16", False))
        init_default_scope(cfg.get("default_scope", "samplug"))
        with named_in(cfg):
            self.pipeline = Compose(_image_pipeline(cfg))
        self.failures: dict[str, str] = {}

    def __call__(
        self, inputs: Any, recursive: bool = False, on_error: Literal["stop", "skip"] = "stop"
    ) -> list[Prediction]:
        """Return the predictions of :meth:`stream` as a list, which keeps all images in memory."""
        return list(self.stream(inputs, recursive, on_error))

    def stream(
        self, inputs: Any, recursive: bool = False, on_error: Literal["stop", "skip"] = "stop"
    ) -> Iterator[Prediction]:
        """Predict images batch by batch.

        Args:
            inputs: A file, a folder, an array (see :func:`samplug.imaging.rasters.array_raster`), or an iterable of
                these; a generator is read one batch ahead.
            recursive: Look into subfolders of folders.
            on_error: ``'skip'``: images that cannot be read are left out and listed in ``failures``. ``'stop'``: they
                raise an error when all others have been predicted.

        Yields:
            A prediction for each image, in order.

        Raises:
            DataError: Images could not be read, or a folder holds none.
        """
        if on_error not in ("stop", "skip"):
            raise ConfigError(f"predict: on_error={on_error!r} is not 'stop' or 'skip'")
        self.failures = failures = {}
        pending: list[tuple[_Job, Tile, dict[str, Any]]] = []
        for source in find_sources(inputs, recursive):
            job = None
            try:
                raster = source.open(self.bands)
                job = _Job(source, raster, cut(raster.shape, self.tile or raster.shape, self.overlap))
                for tile in job.tiles:
                    pending.append((job, tile, self._prepare(job, tile)))
                    if len(pending) == self.batch_size:
                        yield from self._predict(pending)
                        pending = []
            except DataError as error:
                failures[str(source.path or source.name)] = str(error).removeprefix("data: ")
                pending = [item for item in pending if item[0] is not job]
        yield from self._predict(pending)
        if failures and on_error == "stop":
            raise DataError(
                f"predict: {len(failures)} images could not be predicted; mend them, or pass --on-error skip "
                f"(on_error='skip'):\n{indented(failures.values())}"
            )

    def generate(self, image: Any, preset: str | None = None, **settings: Any) -> GeneratedMasks:
        """Find masks of everything in one image, with a promptable model.

        Args:
            image: A file or an array, as for :meth:`stream`.
            preset: See :meth:`samplug.generation.MaskGenerator.of`.
            **settings: Changes to the preset, see :class:`samplug.generation.GeneratorSettings`.

        Raises:
            DataError: The image cannot be read.
            ConfigError: The model predicts no masks for clicks; or see :class:`samplug.generation.MaskGenerator`.
        """
        generator = MaskGenerator.of(self.model, preset, **settings)
        source = image if isinstance(image, Source) else Source("0", Path(image) if isinstance(image, str) else image)
        raster = source.open(self.bands)
        height, width = raster.shape
        pixels = raster.crop(slice(0, height), slice(0, width))
        with autocast(enabled=self.mixed_precision):
            return generator.generate(self.model, np.ascontiguousarray(pixels[..., ::-1]))

    def _prepare(self, job: _Job, tile: Tile) -> dict[str, Any]:
        path = str(job.source.path or job.source.name)
        image = job.raster.crop(tile.rows, tile.columns)
        try:
            return self.pipeline(dict(img=image, img_path=path, seg_fields=[]))
        except cv2.error as error:  # the short side of a very long image may become 0 pixels
            height, width = image.shape[:2]
            raise DataError(
                f"data: {path}: the test pipeline fails on {width}x{height} pixels ({error.err or error}): remove "
                "the image"
            ) from error

    @torch.no_grad()
    def _predict(self, items: list[tuple[_Job, Tile, dict[str, Any]]]) -> list[Prediction]:
        """Predict tiles; return the predictions of the images that they complete."""
        if not items:
            return []
        with autocast(enabled=self.mixed_precision):
            samples = self.model.test_step(pseudo_collate([data for *_, data in items]))
        complete = []
        for (job, tile, _), sample in zip(items, samples, strict=True):
            sample = sample.cpu()
            if "pred_feature" in sample or "pred_score" in sample:
                raise ConfigError(
                    f"predict: {type(self.model).__name__} predicts classes, no masks: tools/test.py writes them "
                    "(out_file of TopKAccuracy), and model.test_step(batch) returns samples with pred_label"
                )
            if "seg_logits" not in sample:
                raise ConfigError(
                    f"predict: {type(self.model).__name__} predicts masks of single objects, no map of the image: find "
                    "masks of everything by generate(image) or tools/generate_masks.py, or click with Predictor"
                )
            sample.seg_logits.data = as_logits(sample.seg_logits.data, outputs_of(self.model))
            job.done += 1
            if len(job.tiles) > 1:
                job.canvas.add(tile, sample.seg_logits.data.float())
            if job.done == len(job.tiles):
                complete.append(Prediction(job.source, job.raster, self._decided(job, sample)))
        return complete

    def _decided(self, job: _Job, last: SegDataSample) -> SegDataSample:
        """Return the sample of a whole image: the model's own if it saw the image at once and no threshold is set."""
        if job.canvas.logits is None and self.threshold is None:
            return last
        logits = last.seg_logits.data if job.canvas.logits is None else job.canvas.logits
        if len(logits) == 1:
            threshold = self.model.decode_head.threshold if self.threshold is None else self.threshold
            decision = (logits.sigmoid() > threshold).long()
        elif self.threshold is None:
            decision = logits.argmax(dim=0, keepdim=True)
        else:
            raise ConfigError(f"predict: threshold={self.threshold} is for one class, the model has {len(logits)}")
        sample = SegDataSample(metainfo=dict(img_path=last.img_path, ori_shape=job.raster.shape))
        return sample.set_data(dict(seg_logits=PixelData(data=logits), pred_sem_seg=PixelData(data=decision))) or sample

    def _tile_size(self, tile: int | Literal["auto"] | None) -> tuple[int, int] | None:
        if tile == "auto":
            size = getattr(self.model.data_preprocessor, "size", None)
            if size is None:
                raise ConfigError("predict: the model's preprocessor states no size: give tile as a number of pixels")
            return size[0], size[1]
        if tile is not None and (not isinstance(tile, int) or tile < 1):
            raise ConfigError(f"predict: tile={tile!r} is neither None, 'auto' nor a number of pixels")
        return None if tile is None else (tile, tile)


def _image_pipeline(cfg: Any) -> list[dict[str, Any]]:
    """Return the pipeline of the (first) test set, with ``LoadImage``, which takes arrays, in place of its loading."""
    pipeline = next(pipelines_of((cfg.get("test_dataloader") or {}).get("dataset")), None)
    if pipeline is None:
        raise ConfigError(f"predict: {cfg.filename or 'the config'} has no test_dataloader with a pipeline")
    return [dict(type="samplug.LoadImage"), *(step for step in pipeline if not step_name(step).startswith("Load"))]
