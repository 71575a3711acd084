"""Linear probing: linear classifiers over the features of a frozen encoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from samplug.models.backbones import build_encoder
from samplug.models.base import StrictInit
from samplug.models.probe.heads import ProbeHeads
from samplug.models.probe.norm import FeatureNorm
from samplug.models.probe.readout import Readout
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, DataError, check_choice

Cfg = dict[str, Any]


@MODELS.register_module()
class LinearProbe(StrictInit, BaseModel):
    """Linear classifiers over pooled features of a frozen encoder.

    Data flow::

        images (N, 3, H, W) -> backbone, without gradients -> readout.record (N, R) float32
          -> [norm] -> readout.split: {pooling: (N, D)} -> head: logits (N, K) of each pooling and learning rate

    All heads are trained on one pass: the loss is the sum of their cross-entropies, and no head reaches another's
    gradient. Validation chooses one of them (:class:`HeadSelectionHook`); its scores are the model's.

    Args:
        backbone: Config of an :class:`Encoder`.
        num_classes: Number of classes, K. 0: no heads, so nothing is trained and predictions have ``pred_feature``
            alone, for nearest neighbours. None is for configs: a run replaces it by the number of its data's classes.
        readout: Arguments of :class:`Readout` besides the encoder: ``source``, ``poolings``, ``norm``, ``dtype``.
        head: Arguments of :class:`ProbeHeads` besides sizes: ``lr_mults``, ``init_std``, ``init_cfg``.
        norm: ``'batch'``: batch norm without affine parameters on the features, as for encoders whose features differ
            in scale, see :class:`FeatureNorm`. None: features as they are.
        feature: Pooling that predictions carry as ``pred_feature``, for nearest neighbours. None: the first.
        data_preprocessor: None: :class:`ProbePreProcessor` for BGR images in 0..255, with the encoder's statistics.
        init_cfg: Source of weights for the whole model.

    Attributes:
        head: The heads; None without classes.

    Raises:
        ConfigError: The encoder is not frozen, or a setting is wrong.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        num_classes: int | None,
        readout: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        norm: str | None = None,
        feature: str | None = None,
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        if num_classes is None:
            raise ConfigError(
                "LinearProbe: num_classes=None is counted by a run alone: set model.num_classes, or take the config "
                "that the training wrote into its work directory"
            )
        if not num_classes and head:
            raise ConfigError("LinearProbe: num_classes=0 builds no heads: remove head, or set num_classes")
        encoder = build_encoder(backbone)
        if not encoder.frozen:
            raise ConfigError("LinearProbe: a probe does not train the encoder: remove backbone.frozen=False")
        statistics = dict(mean=encoder.mean, std=encoder.std, bgr_to_rgb=True)
        super().__init__(
            data_preprocessor={"type": "samplug.ProbePreProcessor", **statistics, **(data_preprocessor or {})},
            init_cfg=init_cfg,
        )
        self.backbone = encoder
        self.readout = Readout(encoder, **(readout or {}))
        check_choice("LinearProbe", "norm", norm, (None, "batch"))
        self.norm = FeatureNorm(self.readout.dim) if norm else nn.Identity()
        self.head = ProbeHeads(self.readout.dims, num_classes, **(head or {})) if num_classes else None
        self.num_classes = num_classes
        self.feature = feature or next(iter(self.readout.dims))
        check_choice("LinearProbe", "feature", self.feature, tuple(self.readout.dims))

    def record(self, inputs: Tensor) -> Tensor:
        """Return the records (N, R) float32 of normalised images (N, 3, H, W); records (N, R) are returned as they are.

        Features that were computed before enter the model this way.
        """
        return self.readout.record(inputs) if inputs.ndim == 4 else inputs

    def features(self, record: Tensor) -> dict[str, Tensor]:
        """Return the heads' inputs (N, D) by pooling."""
        with torch.autocast(record.device.type, enabled=False):
            return self.readout.split(self.norm(record))

    def forward(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Sequence[Any] | Tensor:
        """Compute the loss, predictions or logits.

        Args:
            inputs: (N, 3, H, W) normalised images, or (N, R) records.
            data_samples: N data samples.
            mode: ``'loss'``, see :meth:`loss`; ``'predict'``, see :meth:`predict`; or ``'tensor'``: logits (N, K) of
                the chosen head.

        Raises:
            ConfigError: Loss or logits are asked for, and there are no heads.
            EmptyStateError: Logits are asked for, and no head was chosen.
            ValueError: ``mode`` is unknown.
        """
        if mode == "loss":
            return self.loss(inputs, data_samples or ())
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            head = self._require_head()
            index = head.require_chosen()
            return head.logits(self.features(self.record(inputs)), index)
        raise ValueError(f"mode={mode!r} is none of 'loss', 'predict', 'tensor'")

    def loss(self, inputs: Tensor, data_samples: Sequence[Any] | BaseDataElement) -> dict[str, Tensor]:
        """Compute ``loss``, the sum of the heads' cross-entropies, each a mean over the images.

        Args:
            inputs: See :meth:`forward`.
            data_samples: N samples with ``gt_label``, the index of the class, or one sample with all N labels.
        """
        labels = _labels(data_samples, inputs.device)
        features = self.features(self.record(inputs))
        losses = [F.cross_entropy(logits, labels) for logits in self._require_head()(features)]
        return dict(loss=torch.stack(losses).sum())

    def predict(self, inputs: Tensor, data_samples: Sequence[Any] | None = None) -> Sequence[Any]:
        """Predict classes.

        Args:
            inputs: See :meth:`forward`.
            data_samples: N samples; None: new ones.

        Returns:
            Samples in mmpretrain's layout: ``pred_score`` (K,) probabilities, ``pred_logits`` (K,), and ``pred_label``
            (1,) of the chosen head; all are missing in validations before the first choice. ``pred_feature`` (D,): the
            pooling ``feature``, before the norm. Samples with ``gt_label`` also have ``head_ranks`` (heads,) int64, the
            number of classes that each head scores above the true one, ``head_losses`` (heads,) float32, ``heads``, the
            heads' names, ``head``, the index of the chosen head or None, and ``num_classes``.

        Raises:
            EmptyStateError: No head was chosen, and the samples have no labels to choose with.
        """
        record = self.record(inputs)
        samples = [BaseDataElement() for _ in record] if data_samples is None else data_samples
        for sample, feature in zip(samples, self.readout.split(record)[self.feature], strict=True):
            sample.pred_feature = feature
        if self.head is None:
            return samples
        labelled = all("gt_label" in sample for sample in samples)
        chosen = self.head.chosen_index() if labelled else self.head.require_chosen()
        features = self.features(record)
        if chosen is not None:
            for sample, logits in zip(samples, self.head.logits(features, chosen), strict=True):
                sample.pred_score = logits.softmax(dim=0)
                sample.pred_logits, sample.pred_label = logits, logits.argmax(dim=0, keepdim=True)
        if labelled:
            self._rate_heads(self.head, features, samples)
        return samples

    def memory_advice(self, cfg: Mapping[str, Any], activations: int) -> list[str]:
        """Return settings that lower the memory of training, see :func:`samplug.engine.run_errors.memory_advice`."""
        if self.head is None or len(self.head) < 2:
            return []
        return [
            f"model.head.lr_mults and model.readout.poolings with fewer entries: {len(self.head)} heads are trained"
        ]

    def _require_head(self) -> ProbeHeads:
        if self.head is None:
            raise ConfigError("LinearProbe: num_classes=0 builds no heads: set num_classes to train or to classify")
        return self.head

    def _rate_heads(self, head: ProbeHeads, features: Mapping[str, Tensor], samples: Sequence[Any]) -> None:
        """Put rank of the true class and loss of every head into the samples."""
        labels = _labels(samples, next(iter(features.values())).device)
        ranks, losses = [], []
        for logits in head(features):
            ranks.append(true_class_rank(logits, labels))
            losses.append(F.cross_entropy(logits, labels, reduction="none"))
        record = dict(heads=head.names, head=head.chosen_index(), num_classes=self.num_classes)
        for sample, rank, loss in zip(samples, torch.stack(ranks, 1), torch.stack(losses, 1), strict=True):
            sample.head_ranks, sample.head_losses = rank, loss
            sample.set_metainfo(record)


def true_class_rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the place of the true class when classes are sorted by score, 0 for the first.

    Among equal scores the class with the smaller index comes first, so that a head with constant scores does not count
    as right everywhere. If a score is NaN, the rank is the last.

    Args:
        logits: (N, K) float.
        labels: (N,) int64 in 0..K - 1.

    Returns:
        (N,) int64.
    """
    own = logits.gather(1, labels[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & before)).sum(dim=1)
    return torch.where(logits.isnan().any(dim=1), logits.shape[1] - 1, rank)


def _labels(samples: Sequence[Any] | BaseDataElement, device: torch.device) -> Tensor:
    """Return the labels (N,) int64 of data samples, or of one sample for the whole batch."""
    if isinstance(samples, BaseDataElement):
        return samples.gt_label.to(device)
    missing = next((sample for sample in samples if "gt_label" not in sample), None)
    if missing is not None or not samples:
        path = missing.get("img_path", "a sample") if missing is not None else "a batch"
        raise DataError(f"probe: {path} has no gt_label: end the pipeline with PackClassInputs")
    labels = [torch.as_tensor(sample.gt_label, device=device).reshape(-1) for sample in samples]
    if any(len(label) != 1 for label in labels):
        raise DataError("probe: a sample has several labels: a probe takes one class an image")
    return torch.cat(labels).long()
