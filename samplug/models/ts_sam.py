"""TS-SAM: a frozen SAM encoder, a side network and a fusion decoder; no prompts (Yu et al., 2024, arXiv 2408.01835)."""

from typing import Any

from samplug.models.segmentor import SAMSegmentor
from samplug.registry import MODELS

Cfg = dict[str, Any]


@MODELS.register_module()
class TSSAM(SAMSegmentor):
    """Segmentor with TS-SAM's adapter and decoder.

    Data flow, g = img_size / patch_size::

        images (N, 3, S, S) -> backbone's token stream <-> adapter.tap()
          -> features (N, 128, 4g, 4g), (N, 128, 2g, 2g), (N, 256, g, g)
          -> decode_head -> (N, classes, 4g, 4g) -> bilinear -> logits (N, classes, S, S)

    Args:
        backbone: See :class:`SAMSegmentor`.
        adapter: Config of a :class:`TSSAMSideNetwork`; None: its defaults.
        decode_head: Config of a :class:`FeatureFusionDecoder`; None: its defaults.
        **kwargs: Other arguments of :class:`SAMSegmentor`.

    Raises:
        ConfigError: ``feedback=False`` with an encoder that is not frozen, since it would get no gradients.
    """

    def __init__(
        self, backbone: Cfg, adapter: Cfg | None = None, decode_head: Cfg | None = None, **kwargs: Any
    ) -> None:
        super().__init__(
            backbone,
            adapter or dict(type="TSSAMSideNetwork"),
            decode_head or dict(type="FeatureFusionDecoder"),
            **kwargs,
        )
