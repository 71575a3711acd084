"""Masks of everything in an image, without prompts of a user."""

from samplug.generation.answers import PointAnswers, point_answers
from samplug.generation.generated import GeneratedMasks
from samplug.generation.generator import MaskGenerator
from samplug.generation.settings import PRESETS, GeneratorSettings

__all__ = ["PRESETS", "GeneratedMasks", "GeneratorSettings", "MaskGenerator", "PointAnswers", "point_answers"]
