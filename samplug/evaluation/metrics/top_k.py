"""Metric of image classification."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmengine.logging import print_log

from samplug.evaluation.metrics.per_image import PerImageMetric
from samplug.evaluation.protocols import NearestNeighbours, TopK
from samplug.registry import METRICS
from samplug.utils.errors import DataError
from samplug.utils.text import shorten


class ClassMetric(PerImageMetric):
    """Base of metrics over the class of an image.

    Args:
        protocol: Protocol with the fields ``topk`` and ``classes``.
        **kwargs: See :class:`PerImageMetric`.
    """

    protocol: TopK | NearestNeighbours

    def __init__(self, protocol: TopK | NearestNeighbours, **kwargs: Any) -> None:
        super().__init__(protocol, workers=0, **kwargs)  # scoring takes microseconds
        self._said = False

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Metainfo of the tested dataset; its ``classes``, and ``class_names`` if it has them, name the labels."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta
        meta = dataset_meta or {}
        classes = tuple(meta.get("classes") or ())
        if len(names := meta.get("class_names") or ()) == len(classes):  # two classes may share a readable name
            classes = tuple(f"{folder} {name}" for folder, name in zip(classes, names, strict=True))
        self.protocol = replace(self.protocol, classes=classes)

    def _label(self, sample: Mapping[str, Any]) -> int:
        """Return the index of a sample's class."""
        label = sample.get("gt_label")
        if label is None or len(label) != 1:
            raise DataError(
                f"{type(self).__name__}: {sample['img_path']}: gt_label is {shorten(label)}, not one index of a class: "
                "use ImageFolderDataset with PackClassInputs"
            )
        return int(label)

    def _say_left_out(self, classes: int) -> None:
        """Log once that a k is left out, see :class:`TopK`."""
        left_out = [f"top{k}" for k in self.protocol.topk if k > 1 and k >= classes]
        if left_out and not self._said:
            print_log(
                f"{type(self).__name__}: {', '.join(left_out)} would always be 100 with {classes} classes: left out",
                "current",
            )
            self._said = True


@METRICS.register_module()
class TopKAccuracy(ClassMetric):
    """``top1`` ``top5`` ``mean_per_class`` in percent, see :class:`TopK`.

    Samples have ``pred_score`` (K,) and ``gt_label`` (1,), see :class:`samplug.structures.ClassDataSample`; classes are
    ordered by ``pred_logits`` if there are any. Images that a distributed sampler repeats count once; samples of a bank
    (``bank=True``) do not count. ``out_file`` also has the accuracy of each class and all confusions, and the name of
    the ``head`` of a :class:`LinearProbe`.

    Args:
        topk: Values of k.
        **kwargs: ``out_file``, ``label``, ``collect_device`` and ``prefix`` of :class:`PerImageMetric`.
    """

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        super().__init__(TopK(topk=tuple(topk)), **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        for sample in data_samples:
            if sample.get("bank"):
                continue
            name = sample["img_path"]
            if "pred_score" not in sample:
                raise DataError(
                    f"TopKAccuracy: {name}: the model predicted no score for classes (pred_score): use a classifier "
                    "such as LinearProbe"
                )
            if sample.get("heads") and sample.get("head") is not None:
                self.facts["head"] = sample["heads"][sample["head"]]
            # Probabilities of confident predictions round to 0 and would tie.
            scores = sample.get("pred_logits", sample["pred_score"]).detach().float().cpu().numpy()
            self._say_left_out(len(scores))
            self.submit(name, scores, self._label(sample))
