"""Leave the frozen encoder out of checkpoints."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from samplug.checkpoints import digest, pretrained_names
from samplug.registry import HOOKS

OMITTED_KEY = "samplug_omitted"


@HOOKS.register_module()
class OmitFrozenHook(Hook):
    """Leave frozen parameters out of checkpoints if a ``Pretrained`` config supplies them on loading.

    A checkpoint of TS-SAM on ViT-H shrinks from 2.7 GB to 0.1 GB. ``meta`` keeps a digest of the omitted entries, so a
    test with another encoder stops instead of scoring the wrong model. Use it as
    ``custom_hooks=[dict(type='OmitFrozenHook')]``.
    """

    priority = "VERY_LOW"  # after hooks that exchange weights, such as EMAHook

    def __init__(self) -> None:
        self._digest: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        omitted = sorted(frozen & pretrained_names(model))
        state = checkpoint["state_dict"]
        if self._digest is None:  # frozen parameters are the same at every save
            self._digest = dict(names=omitted, sha256=digest(state, omitted))
        checkpoint["meta"][OMITTED_KEY] = self._digest
        checkpoint["state_dict"] = {name: value for name, value in state.items() if name not in set(omitted)}
