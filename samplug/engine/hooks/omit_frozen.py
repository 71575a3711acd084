"""Checkpoints without the frozen encoder."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from samplug.checkpoints import digest, pretrained_names
from samplug.registry import HOOKS

OMITTED_KEY = "samplug_omitted"


@HOOKS.register_module()
class OmitFrozenHook(Hook):
    """Leaves frozen parameters out of saved checkpoints, if a ``Pretrained`` config supplies them again on loading.

    A TS-SAM on ViT-H shrinks from 2.7 GB to 0.1 GB. ``meta`` keeps a digest of what was left out, so that a test with another
    trunk stops instead of scoring the wrong model. Use it as ``custom_hooks=[dict(type='OmitFrozenHook')]``.
    """

    priority = "VERY_LOW"  # after hooks that exchange weights, as EMA does

    def __init__(self) -> None:
        self._digest: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        omitted = sorted(frozen & pretrained_names(model))
        state = checkpoint["state_dict"]
        if self._digest is None:  # frozen: the same at every save
            self._digest = dict(names=omitted, sha256=digest(state, omitted))
        checkpoint["meta"][OMITTED_KEY] = self._digest
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in set(omitted)}
