"""Which value of a metric is the better one."""

from typing import Literal

from samplug.evaluation.protocols import PROTOCOLS, Protocol
from samplug.evaluation.protocols.clicks import Clicks


def rule_of(metric: str) -> Literal["greater", "less"] | None:
    """Which value of a metric is the better one; of ``'CAMO/MAE'`` that of ``'MAE'``. None: not known."""
    name = _kind(metric.rpartition("/")[2])
    protocols: list[type[Protocol]] = [*PROTOCOLS.values(), Clicks]
    for protocol in protocols:
        if name in map(_kind, protocol.columns):
            return "less" if name in map(_kind, protocol.lower_is_better) else "greater"
    return "less" if "loss" in name.lower() else None


def _kind(name: str) -> str:
    """``IoU`` of ``IoU@25``."""
    return name.partition("@")[0]
