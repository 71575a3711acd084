"""Draw the clicks and boxes that a promptable model is trained and tested with."""

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray

from samplug.apis.model import init_model
from samplug.engine.build_errors import named_in
from samplug.models.input_geometry import InputGeometry
from samplug.models.interaction import first_prompt, prompt_generator_of, run_interaction
from samplug.models.promptable import PromptableSAM
from samplug.models.prompts import PromptState, best_mask, objects_of, training_objects
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.visualization import draw_overlay

_OBJECT, _BACKGROUND, _BOX = (80, 220, 80), (70, 70, 235), (230, 180, 40)  # BGR


class InteractionPictures:
    """Draw simulated interactions.

    Clicks on the object are green, those off it red, both with numbers; boxes are blue, the last masks red, and the
    ground truth is outlined.

    Args:
        cfg: Config of a :class:`PromptableSAM`.
        checkpoint: Weights to predict masks with, see :func:`init_model`. None: draw the first prompt alone, which
            needs no weights.
        train: True: draw the interactions of a training. False: those of a test.

    Raises:
        ConfigError: The config's model takes no prompts.
    """

    def __init__(self, cfg: Config, checkpoint: str | None = None, train: bool = True) -> None:
        self.predicts = checkpoint is not None
        if self.predicts:
            model = init_model(cfg, checkpoint)
        else:
            with torch.device("meta"), named_in(cfg):
                model = MODELS.build(cfg.model)
        if not isinstance(model, PromptableSAM):
            raise ConfigError(
                f"browse: {type(model).__name__} takes no prompts: leave --prompts out, or use a PromptableSAM"
            )
        self.model = model
        self.train = train
        self.prompts = model.train_prompts if train else model.test_prompts

    @torch.no_grad()
    def draw(self, sample: dict[str, Any], scale: int) -> NDArray[np.uint8]:
        """Draw the interaction with each object on the image as it comes from the pipeline.

        Args:
            sample: Sample of the dataset with ``inputs`` (3, h, w) uint8 BGR and ``data_samples``.
            scale: Factor by which the image is enlarged, by repeating pixels.

        Returns:
            (scale h, scale w, 3) uint8 BGR.
        """
        image = sample["inputs"]
        objects = self._placed(sample["data_samples"])
        state, mask = self._interact(sample, objects)
        height, width = image.shape[-2:]
        picture: Any = image.permute(1, 2, 0).numpy().clip(0, 255).astype(np.uint8)
        shown = [picture, mask[:height, :width], (objects == 1).any(dim=0)[0, :height, :width].numpy()]
        picture, mask, outline = (np.repeat(np.repeat(array, scale, axis=0), scale, axis=1) for array in shown)
        picture = draw_overlay(np.ascontiguousarray(picture), mask, outline)
        for number, (kind, place) in _prompts_in(state):
            _mark(picture, kind, (np.asarray(place) + 0.5) * scale, number)
        return picture

    def _placed(self, ground_truth: Any) -> torch.Tensor:
        if self.train:
            return training_objects(ground_truth, self.model.img_size)
        geometry = InputGeometry(self.model.img_size, tuple(ground_truth.ori_shape), self.model.geometry)
        return geometry.place_objects(objects_of(ground_truth))

    def _interact(self, sample: dict[str, Any], objects: torch.Tensor) -> tuple[PromptState | None, NDArray[np.bool_]]:
        """Return all prompts, and the union (S, S) of the last masks."""
        size = self.model.img_size
        nothing = np.zeros((size, size), bool)
        generator = prompt_generator_of(sample["data_samples"])
        if not len(objects):
            return None, nothing
        if not self.predicts:
            return first_prompt(self.prompts, objects, generator), nothing
        device = next(self.model.parameters()).device
        data = dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"].clone()])
        images = self.model.data_preprocessor(data, False)["inputs"]
        steps = list(
            run_interaction(self.model, self.prompts, self.model.encode(images), objects.to(device), generator)
        )
        state, masks = steps[-1]
        logits = self.model.enlarged(best_mask(masks.logits, masks.iou).float())
        return state, (logits > self.model.decode_head.logit_threshold).any(dim=0)[0].cpu().numpy()


def _prompts_in(state: PromptState | None) -> Iterator[tuple[int, tuple[str, Sequence[float]]]]:
    """Yield number, kind and place of each prompt, object by object."""
    if state is None:
        return
    if state.boxes is not None:
        for box in state.boxes[:, 0].tolist():
            yield 1, ("box", box)
    first = 1 if state.boxes is None else 2
    several = state.points.shape[1] > 1
    for points, labels in zip(state.points.tolist(), state.labels.tolist(), strict=True):
        for prompt, (places, kinds) in enumerate(zip(points, labels, strict=True)):
            for number, (place, kind) in enumerate(zip(places, kinds, strict=True)):
                if kind >= 0:
                    yield (prompt + 1 if several else number + first), ("object" if kind else "background", place)


def _mark(picture: NDArray[np.uint8], kind: str, place: NDArray[np.float64], number: int) -> None:
    """Draw one prompt, in place."""
    size = max(3, min(picture.shape[:2]) // 70)
    x, y, *corner = (round(value) for value in place.tolist())
    if corner:
        cv2.rectangle(picture, (x, y), (corner[0], corner[1]), _BOX, max(1, size // 3))
        return
    colour = _OBJECT if kind == "object" else _BACKGROUND
    cv2.circle(picture, (x, y), size + 1, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(picture, (x, y), size, colour, -1, cv2.LINE_AA)
    where = (x + size + 2, y + size)
    for shade, thickness in (((255, 255, 255), 3), ((0, 0, 0), 1)):
        cv2.putText(
            picture, str(number), where, cv2.FONT_HERSHEY_SIMPLEX, 0.09 * size + 0.15, shade, thickness, cv2.LINE_AA
        )
