"""Imports of the server that forks processes for tests, see :mod:`tests.processes`."""

import mmengine.runner  # noqa: F401

import samplug.engine
import samplug.evaluation.metrics
import samplug.visualization.backends  # noqa: F401
from samplug.registry import DATASETS, MODELS, TRANSFORMS
from tests.speed import freeze_imports

for _registry in (DATASETS, MODELS, TRANSFORMS):
    _registry.import_from_location()
freeze_imports()
