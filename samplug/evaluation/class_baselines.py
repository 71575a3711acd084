"""Baselines of image classification, to print beside a probe's scores."""

from typing import Any

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray

from samplug.evaluation.protocols import Scores, TopK
from samplug.imaging.files import read_image

_BINS = 8
_NEIGHBOURS = 20


def colour_histogram(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the square roots of the shares of 8 x 8 x 8 colours.

    Args:
        image: (H, W, 3) uint8 BGR.

    Returns:
        (512,) float32 of length 1; the dot product of two is their Bhattacharyya coefficient.
    """
    counts = cv2.calcHist([image], [0, 1, 2], None, [_BINS] * 3, [0, 256] * 3)
    return np.sqrt(counts / counts.sum(), dtype=np.float32).ravel()


def class_baselines(train: BaseDataset, val: BaseDataset, topk: tuple[int, ...] = (1, 5)) -> dict[str, Scores]:
    """Score guessing, and nearest neighbours and logistic regression on colour histograms.

    Args:
        train: Dataset with ``classes``, whose entries have ``img_path`` and ``gt_label``
            (:class:`~samplug.datasets.ImageFolderDataset`).
        val: Dataset of the same classes to score.
        topk: Values of k.

    Returns:
        Baseline -> scores of :class:`~samplug.evaluation.protocols.TopK`; those of ``'chance'`` are expected values.
    """
    import torch
    from sklearn.linear_model import LogisticRegression

    from samplug.evaluation.functional import knn_scores

    names = tuple(train.metainfo["classes"])
    features, labels = _histograms(train)
    queries, truth = _histograms(val)
    tensors = torch.from_numpy(features), torch.from_numpy(labels), torch.from_numpy(queries)
    k = min(_NEIGHBOURS, len(features))
    regression = LogisticRegression(C=100.0, max_iter=1000).fit(features, labels)
    predicted = np.full((len(queries), len(names)), -np.inf)
    predicted[:, regression.classes_] = regression.predict_log_proba(queries)
    protocol = TopK(topk, names)
    of_one = {f"top{k}": 100.0 * k / len(names) for k in protocol.topk if k == 1 or k < len(names)}
    return {
        "chance": of_one | dict(mean_per_class=100.0 / len(names)),
        f"colour histogram, {k}-NN": _scored(protocol, knn_scores(*tensors, len(names), (k,))[k].numpy(), truth),
        "colour histogram, logistic regression": _scored(protocol, predicted, truth),
    }


def _histograms(dataset: BaseDataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the histograms (N, 512) and the labels (N,) of a dataset."""
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    features = np.stack([colour_histogram(read_image(entry["img_path"])) for entry in entries])
    return features, np.array([entry["gt_label"] for entry in entries], np.int64)


def _scored(protocol: TopK, scores: NDArray[Any], truth: NDArray[np.int64]) -> Scores:
    return protocol.summarise([protocol.score(row, int(label)) for row, label in zip(scores, truth, strict=True)])
