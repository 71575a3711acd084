"""A frozen encoder whose maps are kept on disk: each image is encoded once, whatever the number of epochs and runs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from samplug.checkpoints import digest, fetch, pretrained_config, read_checkpoint, state_dict_of
from samplug.features import FeatureStore
from samplug.features.reader import take_maps
from samplug.features.store import DTYPES
from samplug.models.backbones.base import BlockTokens, Encoder, TokenTap
from samplug.models.base import InitCfg
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, check_choice

_COPIED = (
    "mean", "std", "interpolation", "patch_size", "embed_dims", "out_channels", "has_final_norm", "has_class_token",
    "neck_levels", "projection_dims",
)  # fmt: skip
_RELEASE_AFTER = 100  # images in a row that were in the store


@MODELS.register_module()
class CachedEncoder(Encoder):
    """Read a frozen encoder's maps from a :class:`samplug.features.FeatureStore`; compute and write missing ones.

    An entry belongs to the image's pixels as they come out of the pipeline and to their normalisation. A changed image,
    another transform and a mirrored image have entries of their own; random colours or crops never repeat. The store's
    folder within ``cache_dir`` is named after the encoder's weights and sizes, so that several encoders, processes and
    runs may share one ``cache_dir``.

    The encoder is in memory only while entries are missing. It computes in float32, also in mixed precision, and maps
    are rounded to ``dtype`` before they are returned, so that all epochs are alike.

    If the runner has samplug's ``FeatureReaderHook``, data workers hash the images and read the maps. Otherwise the
    preprocessor hashes (:class:`LetterboxPreProcessor` with ``digest=True``, which :meth:`preprocessor` sets) and the
    encoder reads.

    Any model whose decoder reads the maps alone can use it; adapters that read tokens or change the encoder are
    refused.

    Args:
        encoder: Config of an :class:`Encoder` with ``init_cfg=dict(type='Pretrained', checkpoint=...)``.
        cache_dir: Folder of the stores; it may be deleted at any time.
        dtype: Precision in the files, see :class:`samplug.features.FeatureStore`, which also states the disk space.
        limit_gb: Gigabytes that a run may write before it stops; a larger need is a sign that images differ from epoch
            to epoch.
        frozen: Must be True.
        init_cfg: Not used; the encoder has its own.

    Raises:
        ConfigError: The encoder has no ``Pretrained`` weights, ``dtype`` is unknown, or ``frozen`` is False.
    """

    no_taps = (
        "its maps are read from disk and no block is run; set the encoder itself as backbone, or remove the adapter"
    )

    def __init__(
        self,
        encoder: Mapping[str, Any],
        cache_dir: str,
        dtype: str = "bfloat16",
        limit_gb: float = 200.0,
        frozen: bool = True,
        init_cfg: InitCfg = None,
    ) -> None:
        if not frozen:
            raise ConfigError(
                "CachedEncoder: maps on disk cannot be trained: leave frozen out, or set the encoder itself as backbone"
            )
        check_choice("CachedEncoder", "dtype", dtype, tuple(DTYPES))
        encoder_cfg = {**encoder, "frozen": True}
        with torch.device("meta"):
            model: Encoder = MODELS.build(encoder_cfg)
        super().__init__(model.img_size, frozen=True, init_cfg=init_cfg)
        self.encoder_cfg = encoder_cfg
        pretrained = pretrained_config(model)
        if pretrained is None:
            raise ConfigError(
                "CachedEncoder: the encoder has no pretrained weights: set encoder.init_cfg=dict(type='Pretrained', "
                "checkpoint=...), and leave init_cfg out of the whole model (give it to decode_head)"
            )
        self.checkpoint: str = pretrained["checkpoint"]
        self.prefix: str | None = pretrained.get("prefix")
        for name in _COPIED:
            setattr(self, name, getattr(model, name))
        self.cache_dir = Path(cache_dir).expanduser()
        self.dtype = dtype
        self.limit_gb = limit_gb
        self.read = self.computed = 0  # images, in this process
        self._in_a_row = 0
        # In lists, so that they are no part of the model: sizes without weights, and the encoder while it is needed.
        self._described = [model]
        self._loaded: list[Encoder] = []

    @property
    def depth(self) -> int:
        return self._described[0].depth

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self._described[0].block_dims

    @cached_property
    def store(self) -> FeatureStore:
        """The maps on disk; the first access reads the encoder's weights to find the folder."""
        state = state_dict_of(read_checkpoint(fetch(self.checkpoint)), self.checkpoint)
        sizes = {key: value for key, value in self.encoder_cfg.items() if key not in ("init_cfg", "with_cp")}
        # A file may hold several encoders, each under its prefix.
        identity = [sizes, digest(state, state), str(DTYPES[self.dtype]), *([self.prefix] if self.prefix else [])]
        name = hashlib.sha256(json.dumps(identity, sort_keys=True, default=list).encode()).hexdigest()[:16]
        return FeatureStore(self.cache_dir / name, self.dtype, self.limit_gb)

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        return []  # nothing of the encoder is kept for a backward pass

    def check_input_size(self, height: int, width: int) -> None:
        self._described[0].check_input_size(height, width)

    def preprocessor(self) -> dict[str, Any]:
        return {**self._described[0].preprocessor(), "digest": True}

    def forward(self, images: Tensor, tap: TokenTap | None = None) -> tuple[Tensor, ...]:
        """Compute the maps without the store, see :meth:`Encoder.forward`."""
        if tap is not None:
            self.check_taps(type(tap).__name__)
        self.check_input_size(*images.shape[-2:])
        with torch.no_grad():
            return self._encoder(images.device)(images)

    @torch.no_grad()
    def tokens(
        self, images: Tensor, blocks: Sequence[int] = (-1,), norm: bool | None = None
    ) -> tuple[BlockTokens, ...]:
        return self._encoder(images.device).tokens(images, blocks, norm)

    @torch.no_grad()
    def project(self, class_token: Tensor) -> Tensor:
        return self._encoder(class_token.device).project(class_token)

    def stored_or_computed(
        self, images: Tensor, data_samples: Sequence[Any] | None = None, tap: TokenTap | None = None
    ) -> tuple[Tensor, ...]:
        """Return the maps of the samples' images from the store; compute and write those that are missing.

        Args:
            images: (N, 3, H, W) float, normalised.
            data_samples: N samples with ``pixels``, the key of the image. ``encoder_maps``, if a data worker has read
                them, are taken out. None: the maps are computed and not written.
            tap: None; the tokens cannot be tapped.

        Returns:
            The encoder's maps in the images' precision.

        Raises:
            ConfigError: A sample has no ``pixels``, or the store outgrows ``limit_gb``.
        """
        if data_samples is None or tap is not None:
            return self(images, tap=tap)
        keys = [sample.get("pixels") for sample in data_samples]
        if None in keys:
            raise ConfigError(
                "CachedEncoder: the samples have no digest of their pixels: leave the model's data_preprocessor out, "
                "or set digest=True in it"
            )
        found = [take_maps(sample) or self.store.read(key) for sample, key in zip(data_samples, keys, strict=True)]
        missing = [index for index, maps in enumerate(found) if maps is None]
        if missing:
            # An entry must not depend on the run's precision, since other runs read it too.
            with torch.autocast(images.device.type, enabled=False):
                computed = self(images[missing])
            for row, index in enumerate(missing):
                maps = tuple(level[row].to(self.store.dtype) for level in computed)
                self.store.write(keys[index], maps)
                found[index] = maps
        self._count(len(missing), len(found))
        levels = zip(*(maps for maps in found if maps is not None), strict=True)
        return tuple(_stacked(maps, images) for maps in levels)

    def outside_state(self) -> dict[str, Tensor]:
        """Read the encoder's weights again and return them.

        They are no part of the model, but checkpoints that were made without a store have them.
        """
        encoder = MODELS.build(self.encoder_cfg)
        encoder.init_weights()
        return encoder.state_dict()

    def _count(self, missing: int, number: int) -> None:
        self.computed += missing
        self.read += number - missing
        self._in_a_row = 0 if missing else self._in_a_row + number
        if self._loaded and self._in_a_row >= _RELEASE_AFTER:
            self._loaded = []
            print_log(
                f"features: no image is missing, {self.read} were read; the encoder is removed from memory", "current"
            )

    def _encoder(self, device: torch.device) -> Encoder:
        loaded = self._loaded  # another thread may release the encoder
        if not loaded:
            print_log(
                f"features: {self.encoder_cfg['type']} is loaded for images that are not in {self.cache_dir}", "current"
            )
            encoder = MODELS.build(self.encoder_cfg)
            encoder.init_weights()
            self._loaded = loaded = [encoder]
        # It is no part of the model and does not move with it.
        return loaded[0].to(device)


def _stacked(maps: Sequence[Tensor], like: Tensor) -> Tensor:
    """Stack maps on the device and in the precision of ``like``, without a copy of each in that precision."""
    stacked = like.new_empty(len(maps), *maps[0].shape)
    for row, value in zip(stacked, maps, strict=True):
        row.copy_(value.to(like.device))
    return stacked
