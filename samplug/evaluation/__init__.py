"""Score predictions. Only ``.metrics`` and ``.sets_evaluator``, the parts for MMEngine, import torch."""
