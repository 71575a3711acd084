"""Score predictions. Only ``.metrics``, MMEngine's side, and ``.sets_evaluator`` import torch."""
