"""Name the heads of a linear probe, choose one of them, and keep the choice in checkpoints."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from samplug.engine.hooks.split_leakage import validates_on_test_images
from samplug.evaluation.metrics.heads import HEADS_KEY
from samplug.models.probe import ProbeHeads
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError, check_choice
from samplug.utils.text import shorten

META_KEY = "samplug_probe"


@HOOKS.register_module()
class HeadSelectionHook(Hook):
    """Make the best head of each validation the one that a :class:`LinearProbe` predicts with.

    Validation needs :class:`HeadAccuracy`, which names the best head. The choice is logged, and stored in every later
    checkpoint with the scores of all heads (``meta.samplug_probe``), so that a test uses the same head.

    Before training, heads get their names, with the learning rates that the optimiser applies.

    Args:
        select: Images on which heads may be chosen. ``'held_out'``: images that are not tested, such as a part of the
            training set; validating on the test images is an error. ``'val'``: any, also the test images, as in
            DINOv2's published evaluation.

    Raises:
        ConfigError: Heads would be chosen on test images, there is no validation to choose with, the gradients of
            several heads would be clipped together, two heads have one name, or classes of data and model differ.
    """

    def __init__(self, select: Literal["held_out", "val"] = "held_out") -> None:
        check_choice("HeadSelectionHook", "select", select, ("held_out", "val"))
        self.select = select
        self._record: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        head = _heads(runner)
        head.set_rates(list(_rates(head, runner.optim_wrapper.optimizer.param_groups)))
        _check_classes(head, runner)
        if len(head) > 1:
            if runner.val_loop is None:
                raise ConfigError(
                    f"HeadSelectionHook: {len(head)} heads are trained, and there is no validation to choose one: set "
                    "val_dataloader, or one pooling and one of model.head.lr_mults"
                )
            _check_clipping(len(head), runner.optim_wrapper)
            self._check_images(runner.cfg)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        head = _heads(runner)
        if len(head) == 1:
            return
        metrics = metrics or {}
        if "head" not in metrics:
            raise ConfigError(
                f"HeadSelectionHook: no metric 'head'; validation has {', '.join(metrics)}: add "
                "dict(type='HeadAccuracy') to val_evaluator, and validate on one set"
            )
        index = int(metrics["head"])
        head.choose(index)
        scores = runner.message_hub.runtime_info.get(HEADS_KEY)  # on the main process
        self._record = dict(
            head=head.names[index], select=self.select, iteration=runner.iter, names=list(head.names), scores=scores
        )
        where = (
            "images held out from the tests" if self.select == "held_out" else "the validation images (select='val')"
        )
        runner.logger.info(
            f"probe: head {head.names[index]} is the best of {len(head)} on {where}: top1 {metrics['top1']:.2f} %"
        )
        _save_again(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["meta"][META_KEY] = self._record or dict(names=list(_heads(runner).names))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        meta = checkpoint.get("meta")
        record = meta.get(META_KEY) if isinstance(meta, Mapping) else None
        head = _heads(runner)
        if not isinstance(record, Mapping) or not isinstance(record.get("names"), list):
            return  # a file of other origin
        names = [str(name) for name in record["names"]]
        if len(names) != len(head):
            raise ConfigError(
                f"probe: the checkpoint has {len(names)} heads and the model {len(head)}: it was trained with other "
                "poolings or learning rates, or on another encoder; take the config of its training"
            )
        head.names = names
        if "head" in record:
            self._record = dict(record)

    def before_test(self, runner: Runner) -> None:
        head = _heads(runner)
        name = head.names[head.require_chosen()]
        if len(head) > 1:
            chosen = f", chosen at iteration {shorten(self._record.get('iteration'))}" if self._record else ""
            runner.logger.info(f"probe: head {name} of {len(head)} is tested{chosen}")

    def _check_images(self, cfg: Mapping[str, Any]) -> None:
        """Raise a ConfigError if heads would be chosen on test images without ``select='val'``."""
        if self.select == "held_out" and validates_on_test_images(cfg):
            raise ConfigError(
                "HeadSelectionHook: validation has the test images, so the best head would be chosen by the images "
                "that it is scored on: validate on a part of the training set, or set select='val' as DINOv2's authors "
                "did"
            )


def _heads(runner: Any) -> ProbeHeads:
    head = getattr(runner.bare_model, "head", None)
    if not isinstance(head, ProbeHeads):
        raise ConfigError(
            f"HeadSelectionHook: {type(runner.bare_model).__name__} has no heads: remove it from the hooks"
        )
    return head


def _rates(head: ProbeHeads, groups: list[dict[str, Any]]) -> Iterator[float]:
    """Yield the learning rate with which each head's training begins."""
    rates = {id(value): group.get("initial_lr", group["lr"]) for group in groups for value in group["params"]}
    for linear in head.linears:
        if id(linear.weight) not in rates:
            raise ConfigError("probe: a head is not in the optimiser: do not freeze heads")
        yield float(rates[id(linear.weight)])


def _check_clipping(heads: int, wrapper: Any) -> None:
    if wrapper.clip_grad_kwargs and wrapper.clip_func is torch.nn.utils.clip_grad_norm_:
        raise ConfigError(
            f"probe: optim_wrapper.clip_grad scales the gradients of all {heads} heads by their common norm, so that "
            "heads depend on each other: remove it, or train one head (one pooling, one of model.head.lr_mults)"
        )


def _check_classes(head: ProbeHeads, runner: Any) -> None:
    for phase in ("train", "val"):
        loop = getattr(runner, f"{phase}_loop")
        classes = (getattr(loop.dataloader.dataset, "metainfo", None) or {}).get("classes") if loop else None
        if classes is not None and len(classes) != head.num_classes:
            raise ConfigError(
                f"probe: model.num_classes={head.num_classes}, and the {phase} data have {len(classes)} classes: set "
                f"num_classes={len(classes)}"
            )


def _save_again(runner: Runner) -> None:
    """Save the checkpoint of this step again, if there is one: it was written before the validation that chose."""
    for hook in runner.hooks:
        last = getattr(hook, "last_ckpt", None)
        if isinstance(hook, CheckpointHook) and last:
            step = runner.epoch if hook.by_epoch else runner.iter
            if Path(last).name == hook.filename_tmpl.format(step):
                hook._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter))
