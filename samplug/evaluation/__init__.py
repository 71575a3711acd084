"""Scores of predictions; importing it needs neither torch nor a model (the MMEngine metrics are in ``.metrics``)."""
