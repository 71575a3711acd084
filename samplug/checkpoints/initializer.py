"""``init_cfg=dict(type='Pretrained', ...)`` for modules of other packages in a samplug run."""

from mmengine.model import update_init_info
from torch import nn

from samplug.checkpoints.loading import load_weights
from samplug.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class StrictPretrainedInit:
    """Strict replacement of MMEngine's ``Pretrained``, used if the default scope is ``samplug``.

    Args:
        checkpoint: Source, see :func:`samplug.checkpoints.fetch`.
        prefix: Take only the entries under this prefix.
        map_location: Unused; an argument of MMEngine's. Files are read to the CPU.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def __call__(self, module: nn.Module) -> None:
        load_weights(module, self.checkpoint, prefix=self.prefix)
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"StrictPretrainedInit: load from {self.checkpoint}")
