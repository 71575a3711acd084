"""Base of samplug's modules: strict initialisation from pretrained files."""

from typing import Any

from mmengine.model import BaseModule

from samplug.checkpoints import load_weights, pretrained_config

InitCfg = dict[str, Any] | list[dict[str, Any]] | None


class StrictInit:
    """Mixin before a ``BaseModule`` that loads ``dict(type='Pretrained', checkpoint=...)`` strictly in any scope.

    MMEngine's own ``Pretrained`` continues silently if the file's keys do not fit.
    """

    init_cfg: InitCfg

    def init_weights(self) -> None:
        """Initialise; a ``Pretrained`` file is loaded last, so that no child's random start overwrites it."""
        init_cfg, pretrained = self.init_cfg, pretrained_config(self)  # type: ignore[arg-type]
        if pretrained is None:
            super().init_weights()  # type: ignore[misc]
            return
        others = [] if isinstance(init_cfg, dict) else [cfg for cfg in init_cfg or [] if cfg["type"] != "Pretrained"]
        self.init_cfg = others or None
        try:
            super().init_weights()  # type: ignore[misc]
        finally:
            self.init_cfg = init_cfg
        load_weights(self, pretrained["checkpoint"], prefix=pretrained.get("prefix"))  # type: ignore[arg-type]


class SamplugModule(StrictInit, BaseModule):
    """Base of backbones, adapters and decoders."""
