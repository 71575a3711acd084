"""Save checkpoints in an order that never leaves a run without one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from samplug.engine.resume_state import STATE_KEY, training_state
from samplug.evaluation.directions import rule_of
from samplug.registry import HOOKS
from samplug.utils.errors import ConfigError
from samplug.utils.files import write_text


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """Save checkpoints and delete an old one only when the new one is complete (MMEngine's deletes first).

    ``last_checkpoint`` is replaced in one step and always names a file that exists. Arguments as MMEngine's; a missing
    ``rule`` is looked up (:func:`samplug.evaluation.directions.rule_of`).

    Args:
        keep: Epochs (iterations without ``by_epoch``) whose checkpoints stay, besides the ``max_keep_ckpts`` newest of
            the others.

    Raises:
        ConfigError: Validation has no metric ``save_best``.
    """

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def __init__(
        self,
        *args: Any,
        save_best: str | list[str] | None = None,
        rule: Any = None,
        keep: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        if rule is None and save_best not in (None, "auto"):
            rules = [rule_of(metric) for metric in ([save_best] if isinstance(save_best, str) else save_best or [])]
            rule = rules if None not in rules else None  # MMEngine has rules for others
        super().__init__(*args, save_best=save_best, rule=rule, **kwargs)
        if self.args:  # MMEngine passes them on and fails at the first checkpoint
            raise TypeError(f"CheckpointHook got an unexpected keyword argument '{next(iter(self.args))}'")
        self.keep = frozenset(keep)

    def _init_rule(self, rules: Any, key_indicators: list[str]) -> None:
        if rules == [None]:  # save_best='auto': the first metric
            rules = [rule_of(key) for key in key_indicators]
        super()._init_rule(rules, key_indicators)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        # If this folder is a copy, the checkpoint names files of the original folder: delete nothing there.
        if getattr(self, "best_ckpt_path", None):
            self.best_ckpt_path = self._in_own_folder(self.best_ckpt_path)
        for key, path in getattr(self, "best_ckpt_path_dict", {}).items():
            self.best_ckpt_path_dict[key] = self._in_own_folder(path)

    def _in_own_folder(self, path: str | None) -> str | None:
        own = self.file_backend.join_path(self.out_dir, Path(path).name) if path else None
        return own if own and self.file_backend.isfile(own) else None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Copy of MMEngine's method in another order, with samplug's training state (tests/engine/test_upstream.py)."""
        outdated = None
        counts = self.max_keep_ckpts > 0 and step not in self.keep
        if counts and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.keep_ckpt_ids.popleft()
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        meta[STATE_KEY] = training_state(runner, within_epoch=not self.by_epoch)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_text(Path(runner.work_dir) / "last_checkpoint", str(self.last_ckpt))
        if outdated is not None:
            self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(outdated)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        unknown = [key for key in self.key_indicators if key != "auto" and key not in metrics]
        if unknown:
            raise ConfigError(f"save_best: validation has no metric {', '.join(unknown)}; it has {', '.join(metrics)}")
        undefined = [key for key in self.key_indicators if key != "auto" and metrics[key] != metrics[key]]
        if undefined:
            runner.logger.warning(f"save_best: {', '.join(undefined)} is nan: this checkpoint cannot be the best")
        # MMEngine deletes the previous best checkpoints that it knows before it saves: hide them from it, and delete
        # them afterwards.
        several = len(self.key_indicators) > 1
        before = dict(self.best_ckpt_path_dict) if several else {"": self.best_ckpt_path}
        if several:
            self.best_ckpt_path_dict = dict.fromkeys(before)
        else:
            self.best_ckpt_path = None
        super()._save_best_checkpoint(runner, metrics)
        for key, old in before.items():
            new = self.best_ckpt_path_dict[key] if several else self.best_ckpt_path
            if new is None and several:
                self.best_ckpt_path_dict[key] = old
            elif new is None:
                self.best_ckpt_path = old
            elif old is not None and old != new and is_main_process():
                self._remove(old)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
