"""Direction of metrics: whether a greater or a smaller value is better."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from mmengine import registry as root

from samplug.evaluation.protocols import PROTOCOLS
from samplug.registry import METRICS

Rule = Literal["greater", "less"]

# Metrics of mmdet, mmseg and mmpretrain by the last part of their names; mmdet's have the kind of annotation before it.
_GREATER = re.compile(
    r"(a|m)?(Acc|IoU|Dice|Fscore|Precision|Recall)(\.\w+)?"  # mmseg.IoUMetric; mmseg.CityscapesMetric and others below
    r"|averageScore|d[123]"
    r"|(\w+_)?(mAP|AP)(_copypaste|_\d+|_[sml]|_[rcf]|\d+|[smlrcf])*(@\d+)?"  # mmdet's detection metrics
    r"|(\w+_)?(mAR|AR)(_\d+|_[sml]|[sml])*(@\d+)*|recall@\S+|\w+_precision|JI"
    r"|(PQ|SQ|RQ)(_th|_st)?|[cog]IoU|CMC|R\d+"
    r"|HOTA|AssA|DetA|MOTA|MOTP|IDF1"
    r"|(accuracy_)?top-?\d+(_thr-\S+)?|precision\S*|recall\S*|f1-score\S*"  # mmpretrain
    r"|Recall@\d+|mAP@\d+"
)
_LESS = re.compile(r"mMR|abs_rel|sq_rel|rmse|rmse_log|log10|silog|IDSw|FP|FN|\S*loss\S*", re.IGNORECASE)


def rule_of(metric: str) -> Rule | None:
    """Return whether a greater or a smaller value of a metric is better; None: it is not known.

    A name may have prefixes, ``'CAMO/MAE'``, ``'coco/segm_mAP'``. Its last part is looked up in the ``columns`` and
    ``lower_is_better`` of the registered protocols and of the classes in METRICS that have them, then among the names
    of mmdet's, mmseg's and mmpretrain's metrics.

    Args:
        metric: Name of a metric as it is printed.
    """
    name = metric.rpartition("/")[2]
    for owner in _owners():
        if _base(name) in map(_base, owner.columns):
            return "less" if _base(name) in map(_base, owner.lower_is_better) else "greater"
    if _LESS.fullmatch(name):
        return "less"
    return "greater" if _GREATER.fullmatch(name) else None


def _owners() -> Iterator[Any]:
    """Yield the classes that declare their metrics."""
    yield from PROTOCOLS.values()
    for registry in (METRICS, root.METRICS):
        for metric in registry.module_dict.values():
            if hasattr(metric, "columns") and hasattr(metric, "lower_is_better"):
                yield metric


def _base(name: str) -> str:
    """Return ``IoU`` for ``IoU@25``."""
    return name.partition("@")[0]
