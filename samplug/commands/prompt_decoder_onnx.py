"""Export a model's prompt encoder and mask decoder as an ONNX file."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from samplug.apis.model import init_model
from samplug.checkpoints.export import check_target, staged
from samplug.models.decoders import SAM2MaskDecoder, SAMMaskDecoder
from samplug.utils.errors import ConfigError

_PROMPTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
OUTPUTS = ("low_res_masks", "iou_predictions")


class PromptDecoder(nn.Module):
    """Prompt encoder and mask decoder as one call with tensors only, with the inputs of segment-anything's ONNX model.

    Args:
        decoder: Decoder of SAM or SAM 2; it is not copied.
        img_size: Side S of the network's input in pixels.
        multimask: Three masks for prompts that may mean several things, in place of one.
        dynamic: Replace single masks that are not stable, see :meth:`PromptedMaskDecoder.decode`. None: as in the
            decoder's published predictor.
    """

    def __init__(
        self,
        decoder: SAMMaskDecoder | SAM2MaskDecoder,
        img_size: int,
        multimask: bool = False,
        dynamic: bool | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.img_size = img_size
        self.multimask = multimask
        self.dynamic = decoder.dynamic_multimask if dynamic is None else dynamic

    def forward(
        self,
        features: Sequence[Tensor],
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks of B objects in one image; g is the side of the encoder's coarsest map.

        Args:
            features: Result of the decoder's ``image_features`` for one image, the coarsest map last.
            point_coords: (B, K, 2) float32, (x, y) in pixels of the input.
            point_labels: (B, K) float32: 1 = on the object, 0 = not on it, 2 and 3 = first and second corner of a box,
                -1 = padding.
            mask_input: (B, 1, 4g, 4g) float32, logits of an earlier prediction.
            has_mask_input: (1,) float32: 1 = use ``mask_input``, 0 = there is none.

        Returns:
            Logits (B, M, 4g, 4g) and predicted IoU (B, M), M = 1, or 3 with ``multimask``.
        """
        layers = self.decoder.prompt_layers
        sparse = self.decoder.embed_points(self.img_size, point_coords, point_labels)
        absent = layers.no_mask_embed.weight[:, :, None, None]
        dense = has_mask_input * layers.mask_downscaling(mask_input) + (1 - has_mask_input) * absent
        # Use shape, not len(), which becomes a constant of an exported graph.
        expanded = [feature.expand(point_coords.shape[0], -1, -1, -1) for feature in features]
        masks = self.decoder.decode(expanded, sparse[:, None], dense, self.multimask, self.dynamic)
        return masks.logits[:, 0], masks.iou[:, 0]


def export_onnx(
    config: str | Path | Config,
    checkpoint: str | Path | None,
    out: str | Path,
    multimask: bool = False,
    overwrite: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write :class:`PromptDecoder` of a model as ONNX, for any number of objects and of points.

    Inputs are ``image_embeddings`` (1, 256, g, g), for SAM 2 ``high_res_feats_0`` (1, 32, 4g, 4g) and
    ``high_res_feats_1`` (1, 64, 2g, 2g), ``point_coords``, ``point_labels``, ``mask_input`` and ``has_mask_input``;
    outputs ``low_res_masks`` and ``iou_predictions``.

    Args:
        config: See :func:`samplug.apis.init_model`, as are ``checkpoint`` and ``cfg_options``.
        checkpoint: Weights of the model.
        out: File to write.
        multimask: See :class:`PromptDecoder`.
        overwrite: Replace an existing file.

    Returns:
        Names of the inputs.

    Raises:
        ConfigError: The model has another decoder, or packages are missing.
        UserError: Something is at ``out`` already, or it cannot be written.
        WeightsError: See :func:`samplug.apis.init_model`.
    """
    out = Path(out).expanduser()
    check_target(out, False, overwrite)
    _check_packages()
    model: Any = init_model(config, checkpoint, "cpu", cfg_options)
    head = getattr(model, "decode_head", None)
    if not isinstance(head, SAMMaskDecoder | SAM2MaskDecoder):
        raise ConfigError(
            f"export: {type(model).__name__} has a decoder {type(head).__name__}, but only SAMMaskDecoder and "
            "SAM2MaskDecoder take prompts: use a config that has one of them"
        )
    decoder = PromptDecoder(head, model.backbone.img_size, multimask, getattr(model, "dynamic_multimask", None))
    names, program = _trace(decoder.eval(), model.backbone)
    with staged(out.parent) as folder:
        program.save(folder / out.name)
    return names


def _trace(decoder: PromptDecoder, backbone: Any) -> tuple[list[str], Any]:
    """Return the names of the inputs, and the graph."""
    head: Any = decoder.decoder
    size, grid = backbone.img_size, backbone.img_size // backbone.patch_size
    sides = (4 * grid, 2 * grid, grid) if isinstance(head, SAM2MaskDecoder) else (grid,)
    names = [*(f"high_res_feats_{index}" for index in range(len(sides) - 1)), "image_embeddings", *_PROMPTS]
    # Two objects with three points: a size of one would become a constant of the graph.
    coords, labels = torch.rand(2, 3, 2) * size, torch.tensor([[1.0, 0.0, -1.0], [2.0, 3.0, -1.0]])
    objects, points = torch.export.Dim("objects"), torch.export.Dim("points")
    shapes: Any = ([{}] * len(sides), {0: objects, 1: points}, {0: objects, 1: points}, {0: objects}, {})
    with torch.no_grad(), _quiet():
        features = list(head.image_features([torch.randn(1, backbone.out_channels, side, side) for side in sides]))
        inputs = (features, coords, labels, torch.randn(2, 1, 4 * grid, 4 * grid), torch.ones(1))
        program = torch.onnx.export(
            decoder,
            inputs,
            input_names=names,
            output_names=OUTPUTS,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    return names, program


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on packages that are not needed and on its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _check_packages() -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"export: ONNX files need {' and '.join(missing)}: pip install 'samplug[onnx]'")
