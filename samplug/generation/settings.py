"""Settings of the mask generator, and the published ones by name."""

import difflib
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import Any

from samplug.utils.errors import ConfigError, check_choice


@dataclass(frozen=True)
class GeneratorSettings:
    """Settings of :class:`MaskGenerator`; the defaults are those of SAM 2's ``SAM2AutomaticMaskGenerator``.

    Attributes:
        points_per_side: The grid has this many points a side.
        points_per_batch: Points in a call of the decoder.
        pred_iou_thresh: Masks with a predicted IoU up to it are dropped; 0: none are.
        stability_score_thresh: Masks with a lower stability are dropped, see :func:`stability`; 0: none are.
        stability_score_offset: Distance in logits of the two thresholds that stability compares.
        mask_threshold: Logit above which a pixel is foreground.
        box_nms_thresh: IoU of boxes above which the mask of the lower predicted IoU is dropped.
        crop_n_layers: Layers of crops beside the whole image, see :func:`image_crops`.
        crop_nms_thresh: As ``box_nms_thresh``, for masks of several crops; masks of smaller crops win.
        crop_overlap_ratio: Overlap of neighbouring crops as a share of the image's shorter side.
        crop_n_points_downscale_factor: The grid of layer i has points_per_side / factor^i points a side.
        min_mask_region_area: Holes and islands of fewer pixels are removed (segment-anything's rule); 0: none are. In
            SAM 2's own code the setting does nothing without a compiled extension.
        use_m2m: Decode each mask once more, with its logits as a mask prompt.
        multimask_output: Three masks for each point in place of one.
        dynamic_multimask: Replace a single mask that is not stable by the best of the three. None: as the model.
        max_memory_mb: Memory for masks at the image's size, and for logits that wait for the suppression of duplicates,
            in 2^20 bytes each; 0: one mask at a time. Less memory costs time, never masks.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    use_m2m: bool = False
    multimask_output: bool = True
    dynamic_multimask: bool | None = None
    max_memory_mb: float = 1024

    def __post_init__(self) -> None:
        for item in fields(self):
            value: Any = getattr(self, item.name)
            allowed: Any
            allowed, kind = _KINDS[item.type]
            fits = isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed)  # bool is an int too
            if not fits or value != value:
                raise ConfigError(f"MaskGenerator: {item.name}={value!r} must be {kind}")
            if (lowest := _LOWEST.get(item.name)) is not None and value < lowest:
                raise ConfigError(f"MaskGenerator: {item.name}={value!r} must be a number of at least {lowest}")

    @classmethod
    def of(cls, preset: "str | GeneratorSettings", **changes: Any) -> "GeneratorSettings":
        """Return the settings of a preset, with changes.

        Args:
            preset: A key of ``PRESETS``, or settings.
            **changes: Attribute -> value.

        Raises:
            ConfigError: An unknown preset or attribute, or a value out of range.
        """
        if isinstance(preset, GeneratorSettings):
            base = preset
        else:
            check_choice("MaskGenerator", "preset", preset, list(PRESETS))
            base = PRESETS[preset]
        known = [item.name for item in fields(cls)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ConfigError(
                    f"MaskGenerator: there is no setting {name}{f'; did you mean {near[0]}?' if near else ''}: "
                    f"the settings are preset, {', '.join(known)}"
                )
        return replace(base, **changes)


# Type of a setting -> types of its values, and their name.
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "True or False"),
    bool | None: ((bool, NoneType), "True, False or None"),
}
_LOWEST: dict[str, float] = {
    "points_per_side": 1, "points_per_batch": 1, "pred_iou_thresh": 0, "stability_score_thresh": 0,
    "stability_score_offset": 0, "box_nms_thresh": 0, "crop_n_layers": 0, "crop_nms_thresh": 0,
    "crop_overlap_ratio": 0, "crop_n_points_downscale_factor": 1, "min_mask_region_area": 0, "max_memory_mb": 0,
}  # fmt: skip

PRESETS = {
    "sam": GeneratorSettings(pred_iou_thresh=0.88, dynamic_multimask=False),
    "sam2": GeneratorSettings(),
    "texturesam": GeneratorSettings(
        points_per_side=64, stability_score_thresh=0.2, multimask_output=False, dynamic_multimask=False
    ),
}
"""Preset -> published settings: segment-anything's, SAM 2's, and those of TextureSAM, which are its SAM-2* too."""
