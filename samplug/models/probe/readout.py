"""Vectors that a probe reads from a frozen encoder."""

import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from samplug.models.backbones import BlockTokens, Encoder
from samplug.utils.errors import ConfigError, check_choice, did_you_mean

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Vector(NamedTuple):
    """A basic vector of a record.

    Attributes:
        kind: ``'cls'``, a class token, or ``'mean'``, the mean over the positions of a map.
        block: Index of the block, counted from the last one, -1; also -1 for sources without blocks.
    """

    kind: str
    block: int


class Readout:
    """Read pooled vectors of images from a frozen encoder.

    A record holds each basic vector that the poolings need once. The poolings are concatenations of its slices, so
    records can be stored, and any of their poolings read later::

        images (N, 3, H, W) -> record (N, dim) float32 -> split: {pooling: (N, D)}

    Sources:

    * ``'trunk'``: tokens of the blocks, with the encoder's final norm if it has one.
    * ``'neck'``: last map of :meth:`Encoder.forward`. ``'level0'``, ``'level1'``, ...: all its maps, the
      finest first.
    * ``'projection'``: class token in the space that the encoder shares with text (CLIP).

    Poolings, joined by ``+``:

    * ``'cls'``: class token of the last block. ``'last4'``: class tokens of the last four blocks, the earliest first
      (DINOv2's order); any other number likewise.
    * ``'mean'``: mean over the positions of the last map.

    Maps have only ``'mean'``, projections only ``'cls'``, the trunk of an encoder without class tokens only ``'mean'``.

    Args:
        encoder: Encoder to read; it is neither run nor changed before :meth:`record`.
        source: See above.
        poolings: Names of the poolings, each once; also their names in :meth:`split`.
        norm: Apply the encoder's final norm to tokens of the trunk. None: if it has one.
        dtype: Precision in which the encoder computes: ``'bfloat16'`` or ``'float16'`` (autocast); None: that of its
            weights; ``'auto'``: float16 if there is a GPU, else None. The run's own mixed precision does not reach it,
            so records do not depend on it. Pooling and record are float32.

    Attributes:
        vectors: Slices of the basic vectors in a record.
        dim: Length of a record.
        dims: Length of each pooling.
        settings: Text of everything but weights and images that defines a record: type of the encoder, source, basic
            vectors, norm, precision. Poolings that need the same vectors have the same text.

    Raises:
        ConfigError: The encoder lacks the source or a pooling, or a setting is unknown; the message lists what it has.
    """

    def __init__(
        self,
        encoder: Encoder,
        source: str = "trunk",
        poolings: Sequence[str] = ("mean",),
        norm: bool | None = None,
        dtype: str | None = None,
    ) -> None:
        self.encoder = encoder
        self.source = source
        owner = type(encoder).__name__
        check_choice("probe", "dtype", dtype, (None, "auto", *_DTYPES))
        if dtype == "auto":
            dtype = "float16" if torch.cuda.is_available() else None
        if source not in (known := sources(encoder)):
            hint = " (CLIPViT has one with project=True)" if source == "projection" else did_you_mean(source, known)
            raise ConfigError(f"probe: {owner} has no source {source!r}{hint}: use {', '.join(known)}")
        if norm is not None and source != "trunk":
            raise ConfigError(f"probe: norm={norm} is for source='trunk', and the source is {source!r}: leave it out")
        if norm and not encoder.has_final_norm:
            raise ConfigError(f"probe: {owner} has no norm after its last block: leave norm=True out")
        if isinstance(poolings, str) or not poolings or len(set(poolings)) < len(poolings):
            raise ConfigError(f"probe: poolings={poolings!r} must be a list of one or more different names")
        self._parts = {pooling: _parse(encoder, source, pooling) for pooling in poolings}
        self._norm = encoder.has_final_norm if norm is None else norm
        self._dtype = _DTYPES[dtype] if dtype else None

        order = {"cls": 0, "mean": 1}
        needed = sorted(set().union(*self._parts.values()), key=lambda one: (order[one.kind], one.block))
        self.vectors: dict[Vector, slice] = {}
        start = 0
        for vector in needed:
            width = _width(encoder, source, vector)
            self.vectors[vector] = slice(start, start + width)
            start += width
        self.dim = start
        self.dims = {
            pooling: sum(self.vectors[part].stop - self.vectors[part].start for part in parts)
            for pooling, parts in self._parts.items()
        }
        described = dict(
            encoder=owner,
            source=source,
            vectors=[f"{kind}{block}" for kind, block in needed],
            norm=self._norm if source in ("trunk", "projection") else None,
            dtype=dtype,
        )
        self.settings = json.dumps(described, sort_keys=True)

    @torch.no_grad()
    def record(self, images: Tensor) -> Tensor:
        """Run the encoder and pool its output.

        Args:
            images: (N, 3, H, W) float, RGB, normalised with the encoder's ``mean`` and ``std``.

        Returns:
            (N, dim) float32, without a graph.

        Raises:
            ConfigError: The encoder does not accept this input size.
        """
        with self._precision(images.device.type):
            found = self._read(images)
        return torch.cat([found[vector] for vector in self.vectors], dim=1)

    def split(self, record: Tensor) -> dict[str, Tensor]:
        """Return the poolings of a record (N, dim) by name, each (N, dims[name])."""
        if record.ndim != 2 or record.shape[1] != self.dim:
            raise ConfigError(f"probe: a record of {self.dim} values an image is needed, not {tuple(record.shape)}")
        return {
            pooling: torch.cat([record[:, self.vectors[part]] for part in parts], dim=1)
            for pooling, parts in self._parts.items()
        }

    def _precision(self, device: str) -> AbstractContextManager[object]:
        return torch.autocast(device, dtype=self._dtype, enabled=self._dtype is not None)

    def _read(self, images: Tensor) -> dict[Vector, Tensor]:
        if self.source not in ("trunk", "projection"):
            level = -1 if self.source == "neck" else int(self.source.removeprefix("level"))
            return {Vector("mean", -1): _mean(self.encoder(images)[level])}
        blocks = sorted({vector.block for vector in self.vectors})
        outputs = dict(zip(blocks, self.encoder.tokens(images, blocks, self._norm), strict=True))
        return {vector: self._pooled(vector, outputs[vector.block]) for vector in self.vectors}

    def _pooled(self, vector: Vector, tokens: BlockTokens) -> Tensor:
        if vector.kind == "mean":
            return _mean(tokens.patches)
        assert tokens.class_token is not None  # else it is no pooling of this encoder
        if self.source == "projection":
            return self.encoder.project(tokens.class_token).float()
        return tokens.class_token.float()


def sources(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of the sources that an encoder has."""
    levels = encoder.neck_levels
    neck = ("neck", *(f"level{level}" for level in range(levels))) if levels else ()
    return ("trunk", *neck, *(("projection",) if encoder.projection_dims else ()))


def _parse(encoder: Encoder, source: str, pooling: str) -> tuple[Vector, ...]:
    """Return the basic vectors that a pooling concatenates."""
    parts: list[Vector] = []
    for term in pooling.split("+"):
        last = re.fullmatch(r"last([1-9]\d*)", term)
        count = int(last[1]) if last else 1
        class_tokens = source == "projection" or (source == "trunk" and encoder.has_class_token)
        known = (term == "mean" and source != "projection") or (
            class_tokens and (term == "cls" or (last is not None and source == "trunk" and count <= encoder.depth))
        )
        if not known:
            has = ["cls"] * class_tokens + ["mean"] * (source != "projection")
            if source == "trunk" and class_tokens:
                has += ["cls+mean", f"last1 to last{encoder.depth}", "lastN+mean"]
            raise ConfigError(
                f"probe: {type(encoder).__name__} has no pooling {pooling!r} of its {source!r}: use {', '.join(has)}"
            )
        if term == "mean":
            parts.append(Vector("mean", -1))
        else:
            parts += [Vector("cls", block) for block in range(-count, 0)]
    if len(set(parts)) < len(parts):
        raise ConfigError(f"probe: pooling {pooling!r} has a vector twice")
    return tuple(parts)


def _width(encoder: Encoder, source: str, vector: Vector) -> int:
    if source == "projection":
        assert encoder.projection_dims is not None  # else it is no source
        return encoder.projection_dims
    return encoder.block_dims[vector.block] if source == "trunk" else encoder.out_channels


def _mean(values: Tensor) -> Tensor:
    """Average a map (N, C, h, w) over its positions, in float32."""
    return values.float().mean(dim=(2, 3))
