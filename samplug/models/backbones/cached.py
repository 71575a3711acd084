"""A frozen encoder whose maps are kept on disk: each image is encoded once, whatever the number of epochs and runs."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from samplug.checkpoints import digest, fetch, pretrained_config, read_checkpoint, state_dict_of
from samplug.models.base import SamplugModule
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_RELEASE_AFTER = 100  # images in a row that were there
_GB = 10**9


@MODELS.register_module()
class CachedEncoder(SamplugModule):
    """In place of a frozen encoder: reads an image's maps from a folder, and computes and writes them where they are missing.

    Images go by their pixels as they come out of the pipeline and by how they are normalised, so that an image that was changed, or
    another transform, is another entry, and a mirrored image a second one; random colours or crops would never repeat. The folder within
    ``cache_dir`` is named by the encoder's weights and sizes: several encoders may share one ``cache_dir``, and so may several processes
    and runs at once.

    The encoder is in memory only while something is missing. What was just computed is returned as it will be read, rounded to ``dtype``:
    the first epoch is like all others. Maps to keep are computed in float32, also in mixed precision. At 1024 pixels an image takes 2.1 MB
    of SAM, 44 MB of SAM 2 (with its finer maps).

    The model needs ``pixels``, a digest of each image and its normalisation, which :class:`LetterboxPreProcessor` adds with ``digest=True``.
    :class:`samplug.models.PromptableSAM` sees to both.

    Args:
        encoder: Config of a :class:`SAMViT` or :class:`SAM2Hiera`, with ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        cache_dir: Folder for the maps; may be deleted at any time.
        dtype: ``'bfloat16'``, ``'float16'`` or ``'float32'`` in the files.
        limit_gb: Stop when this run has written more: images differ from epoch to epoch, or there are more of them than meant.
        init_cfg: Not used; the encoder has its own.

    Attributes:
        img_size, patch_size, out_channels, embed_dims, depth, mean, std: The encoder's.

    Raises:
        ConfigError: The encoder has no ``Pretrained`` weights, or ``dtype`` is unknown.
    """

    checkpoint_part = "backbone"
    frozen = True

    def __init__(
        self,
        encoder: Mapping[str, Any],
        cache_dir: str,
        dtype: str = "bfloat16",
        limit_gb: float = 200.0,
        init_cfg: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if dtype not in _DTYPES:
            raise ConfigError(f"CachedEncoder: dtype={dtype!r} is not one of {', '.join(_DTYPES)}")
        self.encoder_cfg = {**encoder, "frozen": True}
        self.cache_dir = Path(cache_dir).expanduser()
        self.dtype = _DTYPES[dtype]
        self.limit_gb = limit_gb
        with torch.device("meta"):
            model = MODELS.build(self.encoder_cfg)
        pretrained = pretrained_config(model)
        if pretrained is None:
            raise ConfigError(
                "CachedEncoder: without weights its maps mean nothing: set encoder.init_cfg=dict(type='Pretrained', checkpoint=...), and leave "
                "init_cfg out of the whole model (give it to decode_head)"
            )
        self.checkpoint: str = pretrained["checkpoint"]
        self.prefix: str | None = pretrained.get("prefix")
        for name in ("img_size", "patch_size", "out_channels", "embed_dims", "depth", "mean", "std"):
            setattr(self, name, getattr(model, name))
        self.read = self.computed = 0  # images, in this process
        self._written = 0
        self._writable = True
        self._in_a_row = 0
        self._folder: Path | None = None
        self._held: list[nn.Module] = []  # in a list, so that it is no part of the model

    @property
    def folder(self) -> Path:
        """Where the maps of this encoder are."""
        if self._folder is None:
            state = state_dict_of(read_checkpoint(fetch(self.checkpoint)))
            sizes = {key: value for key, value in self.encoder_cfg.items() if key not in ("init_cfg", "with_cp")}
            # A file may hold several encoders, each under its prefix.
            identity = [sizes, digest(state, state), str(self.dtype), *([self.prefix] if self.prefix else [])]
            text = json.dumps(identity, sort_keys=True, default=list)
            self._folder = self.cache_dir / hashlib.sha256(text.encode()).hexdigest()[:16]
        return self._folder

    @property
    def holds_encoder(self) -> bool:
        """Whether the encoder is in memory."""
        return bool(self._held)

    def forward(self, images: Tensor, pixels: Sequence[str | None] | None = None) -> tuple[Tensor, ...]:
        """The encoder's maps.

        Args:
            images: (N, 3, img_size, img_size) normalised images.
            pixels: A digest of each one's pixels. None: they are encoded, and nothing is read or written.

        Returns:
            The encoder's maps, N of each, in the images' precision.

        Raises:
            ConfigError: An image has no digest, or the cache outgrows ``limit_gb``.
        """
        if pixels is None:
            return self._encode(images)
        if any(pixel is None for pixel in pixels):
            raise ConfigError(
                "CachedEncoder: the samples have no digest of their pixels: leave the model's data_preprocessor out, or set digest=True in it"
            )
        found = [self._load(str(pixel)) for pixel in pixels]
        missing = [index for index, maps in enumerate(found) if maps is None]
        if missing:
            # An entry is no function of the run's precision: another run reads it in its own.
            with torch.autocast(images.device.type, enabled=False):
                computed = self._encode(images[missing])
            for row, index in enumerate(missing):
                found[index] = [maps[row].to(self.dtype) for maps in computed]
                if self._writable:
                    self._store(str(pixels[index]), found[index])  # type: ignore[arg-type]
        self._count(len(missing), len(found))
        return tuple(
            torch.stack([maps[level].to(images.device, images.dtype) for maps in found if maps is not None])
            for level in range(len(found[0] or ()))
        )

    def outside_state(self) -> dict[str, Tensor]:
        """The encoder's weights, read anew. They are no part of the model, but checkpoints made without a cache have them."""
        encoder = MODELS.build(self.encoder_cfg)
        encoder.init_weights()
        return encoder.state_dict()

    def _count(self, missing: int, number: int) -> None:
        self.computed += missing
        self.read += number - missing
        self._in_a_row = 0 if missing else self._in_a_row + number
        if self._held and self._in_a_row >= _RELEASE_AFTER:
            self._held.clear()
            print_log(f"embeddings: all are there, {self.read} images read; the encoder leaves the memory", "current")

    @torch.no_grad()
    def _encode(self, images: Tensor) -> tuple[Tensor, ...]:
        if not self._held:
            print_log(f"embeddings: the encoder is loaded for what is missing in {self.folder}", "current")
            encoder = MODELS.build(self.encoder_cfg)
            encoder.init_weights()
            self._held.append(encoder)
        # No part of the model, it does not move with it.
        return self._held[0].to(images.device)(images)

    def _path(self, pixel: str) -> Path:
        return self.folder / pixel[:2] / f"{pixel}.safetensors"

    def _load(self, pixel: str) -> list[Tensor] | None:
        path = self._path(pixel)
        try:
            maps = load_file(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            print_log(f"embeddings: {path} cannot be read ({error}): computed anew", "current", 30)
            return None
        return [maps[name] for name in sorted(maps)]

    def _store(self, pixel: str, maps: Sequence[Tensor]) -> None:
        path = self._path(pixel)
        # Under a name of this writer alone, on any machine, then renamed: a file under its own name is whole.
        partial = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({f"{level}": value.cpu().contiguous() for level, value in enumerate(maps)}, partial)
            os.replace(partial, path)
        except (OSError, SafetensorError) as error:  # what is missing is computed each time, the training goes on
            partial.unlink(missing_ok=True)
            self._writable = False
            print_log(f"embeddings: {path} cannot be written ({error}): no more are kept in this run", "current", 30)
            return
        self._written += sum(value.numel() * value.element_size() for value in maps)
        if self._written > self.limit_gb * _GB:
            raise ConfigError(
                f"CachedEncoder: {self._written / _GB:.1f} GB were written to {self.folder} in this run: leave random augmentations other than "
                f"flips out of the pipeline (each picture is an entry of its own), or raise limit_gb={self.limit_gb:g}"
            )
