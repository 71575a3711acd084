from samplug.models.prompts.boxes import perturb_boxes, tight_boxes
from samplug.models.prompts.clicks import center_click, erode, spread_points, uniform_click
from samplug.models.prompts.masks import best_mask, mask_prompt, merge_prompts
from samplug.models.prompts.objects import has_instances, has_objects, objects_of, training_objects
from samplug.models.prompts.randomness import prompt_generator
from samplug.models.prompts.simulator import PointPrompts, PromptSimulator, PromptState
from samplug.models.prompts.structures import Prompts

__all__ = [
    "PointPrompts",
    "PromptSimulator",
    "PromptState",
    "Prompts",
    "best_mask",
    "center_click",
    "erode",
    "has_instances",
    "has_objects",
    "mask_prompt",
    "merge_prompts",
    "objects_of",
    "perturb_boxes",
    "prompt_generator",
    "spread_points",
    "tight_boxes",
    "training_objects",
    "uniform_click",
]
