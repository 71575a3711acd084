"""What every registered backbone, adapter and model promises."""

import re

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from samplug.models.adapters import Adapter
from samplug.models.backbones import BlockTokens, Encoder
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import (
    TINY_ARCH,
    TINY_CLIP,
    TINY_DINOV2,
    TINY_HIERA,
    save_encoder,
    tiny_clip,
    tiny_dinov2,
    tiny_hiera,
    tiny_promptable,
    tiny_segmentor,
    tiny_tssam,
    tiny_vit,
)

CLICK = dict(train_prompts=dict(type="PromptSimulator", num_correction_points=1))
SAM2 = dict(backbone=dict(type="SAM2Hiera", arch=TINY_HIERA), decode_head=dict(type="SAM2MaskDecoder"))


class ClassTokenViT(Encoder):
    """An encoder of another package: a class token, a final norm, any multiple of the patch size."""

    patch_size, embed_dims, out_channels, depth, has_final_norm, has_class_token = 16, 8, 8, 3, True, True
    no_taps = "they are a sequence"

    def __init__(self, **kwargs):
        super().__init__(img_size=64, **kwargs)
        self.patch_embed = nn.Conv2d(3, 8, 16, 16)
        self.class_token = nn.Parameter(torch.randn(1, 1, 8))
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.apply_frozen()

    def check_input_size(self, height, width):
        if height % 16 or width % 16:
            raise ConfigError(f"ClassTokenViT takes multiples of 16 pixels and got {height}x{width}")

    def embed(self, images):
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)

    def run_block(self, index, tokens):
        return self.blocks[index](tokens)

    def block_tokens(self, tokens, size, norm):
        tokens = self.norm(tokens) if norm else tokens
        return BlockTokens(tokens[:, 1:].transpose(1, 2).unflatten(2, size), tokens[:, 0])

    def forward(self, images, tap=None):
        if tap is not None:
            self.check_taps(type(tap).__name__)
        (last,) = self.tokens(images)
        return (last.patches + last.class_token[:, :, None, None],)


def cached_vit(tmp_path, **kwargs):
    encoder = dict(type="SAMViT", arch=TINY_ARCH, img_size=64)
    init_cfg = dict(type="Pretrained", checkpoint=save_encoder(tmp_path / "encoder.pth", encoder))
    return MODELS.build(
        dict(type="CachedEncoder", encoder=dict(encoder, init_cfg=init_cfg), cache_dir=str(tmp_path / "maps"), **kwargs)
    )


BACKBONES = {
    "SAMViT": lambda tmp_path, **kwargs: tiny_vit(**kwargs),
    "SAM2Hiera": lambda tmp_path, **kwargs: tiny_hiera(**kwargs),
    "CLIPViT": lambda tmp_path, **kwargs: tiny_clip(**kwargs),
    "DINOv2ViT": lambda tmp_path, **kwargs: tiny_dinov2(**kwargs),
    "CachedEncoder": cached_vit,
    "outside": lambda tmp_path, **kwargs: ClassTokenViT(**kwargs),
}
# Side, in patches, and channels of the tokens after each block.
TOKENS = {
    "SAMViT": [(4, 48)] * 3,
    "SAM2Hiera": [(16, 16), (8, 32), (8, 32), (4, 64), (4, 64), (2, 128)],
    "CLIPViT": [(4, 32)] * 3,
    "DINOv2ViT": [(4, 48)] * 3,
    "CachedEncoder": [(4, 48)] * 3,
    "outside": [(4, 8)] * 3,
}
MODEL_VARIANTS = {
    "TSSAM": dict(),
    "TSSAM-side-network": dict(adapter=dict(feedback=False)),
    "TSSAM-fft": dict(adapter=dict(use_fft=True), loss="balanced_bce"),
    "TSSAM-from-scratch": dict(backbone=dict(frozen=False)),
    "TSSAM-checkpointing": dict(backbone=dict(with_cp=True)),
    "TSSAM-classes": dict(num_classes=4),
    "SAMSegmentor": dict(),
    "SAMSegmentor-sam-adapter": dict(adapter=dict(type="SAMAdapter", reduction=8)),
    "SAMSegmentor-sam-adapter-checkpointing": dict(
        adapter=dict(type="SAMAdapter", reduction=8), backbone=dict(with_cp=True)
    ),
    "SAMSegmentor-lora": dict(adapter=dict(type="LoRAAdapter")),
    "SAMSegmentor-lora-checkpointing": dict(
        adapter=dict(type="LoRAAdapter", target_modules=["qkv", "proj", "lin1", "lin2"]), backbone=dict(with_cp=True)
    ),
    "SAMSegmentor-side-network": dict(
        adapter=dict(type="TSSAMSideNetwork", side_channels=16), decode_head=dict(type="FeatureFusionDecoder")
    ),
    "SAMSegmentor-from-scratch": dict(backbone=dict(frozen=False)),
    "SAMSegmentor-sam2": SAM2,
    "SAMSegmentor-sam2-from-scratch": dict(SAM2, backbone=dict(SAM2["backbone"], frozen=False, drop_path_rate=0.1)),
    "SAMSegmentor-sam2-lora-checkpointing": dict(
        SAM2, adapter=dict(type="LoRAAdapter"), backbone=dict(SAM2["backbone"], with_cp=True)
    ),
    "SAMSegmentor-dinov2-lora-checkpointing": dict(
        adapter=dict(type="LoRAAdapter", target_modules=["qkv", "proj", "fc1", "fc2"]),
        backbone=dict(type="DINOv2ViT", arch=dict(TINY_DINOV2, embed_dims=256, num_heads=4), with_cp=True),
    ),
    "SAMSegmentor-clip-lora-checkpointing": dict(
        adapter=dict(type="LoRAAdapter", target_modules=["in_proj"]),
        backbone=dict(type="CLIPViT", arch=dict(TINY_CLIP, embed_dims=256), with_cp=True),
    ),
    "PromptableSAM": dict(CLICK),
    "PromptableSAM-from-scratch": dict(CLICK, backbone=dict(frozen=False)),
    "PromptableSAM-lora": dict(CLICK, adapter=dict(type="LoRAAdapter", target_modules=["qkv", "proj"])),
    "PromptableSAM-sam2": dict(SAM2 | CLICK, decode_head=dict(type="SAM2MaskDecoder", prompts=True)),
}


def build_variant(name: str):
    build = {"TSSAM": tiny_tssam, "PromptableSAM": tiny_promptable}.get(name.split("-")[0], tiny_segmentor)
    return build(**MODEL_VARIANTS[name])


def test_every_component_is_covered():
    MODELS.import_from_location()
    parts = {
        "LetterboxPreProcessor",
        "LinearProbe",  # tests/models/test_probe.py
        "ProbePreProcessor",
        "SegTTAModel",  # tests/models/test_test_time.py
        "TSSAMSideNetwork",
        "SAMAdapter",
        "LoRAAdapter",
        "FeatureFusionDecoder",
        "SAMMaskDecoder",
        "SAM2MaskDecoder",
        "bce_iou",
        "bce_iou_original",
        "balanced_bce",
        "cross_entropy",
        "PromptSimulator",
        "PointPrompts",
        "MaskGenerator",  # tests/generation
        "sam2_prompted",
    }
    own = {name for name, kind in MODELS.module_dict.items() if kind.__module__.startswith("samplug.")}
    assert own == set(BACKBONES) - {"outside"} | {name.split("-")[0] for name in MODEL_VARIANTS} | parts


def samples(batch: int, classes: int, size: tuple[int, int] = (64, 64)) -> list[SegDataSample]:
    result = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(ori_shape=(37, 50), img_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, max(classes, 2), (1, *size)))
        result.append(sample)
    return result


@pytest.fixture(params=BACKBONES)
def backbone(request, tmp_path):
    """Builds one of the encoders."""
    return lambda **kwargs: BACKBONES[request.param](tmp_path, **kwargs)


@pytest.mark.parametrize("batch", [1, 2])
def test_backbone(backbone, batch):
    model = backbone()
    assert isinstance(model, Encoder)
    model.init_weights()
    features = model(torch.randn(batch, 3, 64, 64))
    grid = model.img_size // model.patch_size
    for level, feature in enumerate(reversed(features)):
        assert feature.shape == (batch, model.out_channels, grid * 2**level, grid * 2**level)
    assert all(feature.requires_grad == (not model.frozen) for feature in features)
    if not model.frozen:
        sum(feature.square().sum() for feature in features).backward()
        used = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert used == {name for name, _ in model.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.isfinite(feature.float()).all() for feature in model(torch.randn(batch, 3, 64, 64)))


def test_frozen_backbone(backbone):
    model = backbone(frozen=True).train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_tokens(name, tmp_path):
    """Each block's, in the order in which they are asked for; nothing behind the last of them is run."""
    model = BACKBONES[name](tmp_path).eval()
    model.init_weights()
    images, run = torch.randn(2, 3, 64, 64), []
    every = model.tokens(images, range(model.depth))
    assert [(each.patches.shape[-1], each.patches.shape[1]) for each in every] == TOKENS[name]
    assert all(each.patches.shape[:1] + each.patches.shape[-2:-1] == (2, each.patches.shape[-1]) for each in every)
    assert all((each.class_token is None) != model.has_class_token for each in every)
    assert model.block_dims == tuple(each.patches.shape[1] for each in every)
    runs = getattr(model, "_loaded", [model])[0]  # of a CachedEncoder it is not the model itself
    runs.run_block = lambda index, tokens: run.append(index) or type(runs).run_block(runs, index, tokens)
    first, negative = model.tokens(images, (1, -model.depth))
    assert run == [0, 1]
    assert torch.equal(first.patches, every[1].patches)
    assert torch.equal(negative.patches, every[0].patches)
    assert torch.equal(model.tokens(images)[0].patches, every[-1].patches)
    assert torch.equal(model.tokens(images, norm=False)[0].patches, every[-1].patches) != model.has_final_norm
    with pytest.raises(ConfigError, match=rf"blocks \[{model.depth}\] lie outside the {model.depth} blocks"):
        model.tokens(images, (0, model.depth))
    if not model.has_final_norm:
        with pytest.raises(ConfigError, match="has no norm after its last block"):
            model.tokens(images, norm=True)


def test_preprocessor_fits(backbone):
    """It makes of any image what the encoder takes, with the encoder's statistics."""
    model = backbone()
    preprocessor = MODELS.build(model.preprocessor())
    image = torch.tensor(model.mean[::-1]).round().byte()[:, None, None].expand(3, 40, 64)  # BGR
    inputs = preprocessor(dict(inputs=[image]))["inputs"]
    model.check_input_size(*inputs.shape[-2:])
    assert inputs.abs().max() < 0.01
    for part in ("mean", "std", "interpolation", "patch_size", "embed_dims", "out_channels", "depth"):
        assert getattr(model, part)


def test_wrong_input_size_says_so(backbone):
    for call in (lambda model, images: model(images), lambda model, images: model.tokens(images)):
        with pytest.raises(ConfigError, match=r"64x64 inputs and got 40x64|multiples of 16 pixels and got 40x64"):
            call(backbone(), torch.zeros(1, 3, 40, 64))


def test_taps_are_accepted_or_refused_with_a_reason(backbone):
    model, images = backbone(), torch.randn(1, 3, 64, 64)
    adapter = MODELS.build(dict(type="SAMAdapter", reduction=8))
    if model.no_taps is None:
        adapter.attach(model)
        tap = adapter.tap()
        assert torch.equal(model(images, tap=tap)[-1], tap.features[-1])
    else:
        with pytest.raises(ConfigError, match=f"SAMAdapter reads the tokens .* {type(model).__name__} does not offer"):
            adapter.attach(model)
        with pytest.raises(ConfigError, match=re.escape(model.no_taps)):
            model(images, tap=object())


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MODEL_VARIANTS)
def test_model(name, batch):
    model = build_variant(name).train()
    classes = getattr(model, "num_classes", 1)
    images, data = torch.randn(batch, 3, 64, 64), samples(batch, classes)
    assert model(images).shape == (batch, classes, 64, 64)

    losses = model(images, data, mode="loss")
    sum(losses.values()).backward()
    # Simulated prompts are random: not every kind is in every step.
    prompted = ("decode_head.prompt_encoder.", "decode_head.sam_prompt_encoder.")
    for parameter_name, parameter in model.named_parameters():
        drawn = name.startswith("PromptableSAM") and parameter_name.startswith(prompted)
        assert drawn or (parameter.grad is not None) == parameter.requires_grad, parameter_name
    assert any(p.requires_grad for p in model.backbone.parameters()) == (not model.backbone.frozen)
    assert model.backbone.training == (not model.backbone.frozen) == name.endswith("scratch")

    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, data, mode="loss")
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())

    model.eval()
    data = samples(batch, classes, (37, 50))
    with torch.no_grad():
        for sample in model(images, data, mode="predict"):
            assert sample.seg_logits.data.shape == (classes, 37, 50)
            assert sample.pred_sem_seg.data.shape == (1, 37, 50)
            assert set(sample.pred_sem_seg.data.unique().tolist()) <= set(range(max(2, classes)))


ADAPTERS = ("TSSAMSideNetwork", "SAMAdapter", "LoRAAdapter")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_leave_the_encoders_names_alone(adapter):
    """What an adapter trains is its own, so that the encoder's files fit and checkpoints can leave the encoder out."""
    cfg = dict(type=adapter, **(dict(reduction=8) if adapter == "SAMAdapter" else {}))
    head = dict(type="FeatureFusionDecoder") if adapter == "TSSAMSideNetwork" else None
    model = tiny_segmentor(adapter=cfg, decode_head=head)
    assert isinstance(model.adapter, Adapter)
    assert list(model.backbone.state_dict()) == list(tiny_vit().state_dict())
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert all(parameter.requires_grad for parameter in model.adapter.parameters())
    assert all(module.training for module in model.train().adapter.modules())


@pytest.mark.parametrize("feedback", [True, False])
def test_activations_kept(feedback):
    """A true side network keeps none of the encoder's activations: only what feeds its own modules."""
    model = tiny_tssam(adapter=dict(feedback=feedback)).train()
    inside_blocks = []

    def pack(tensor):
        if tensor.grad_fn is not None or tensor.is_leaf:
            inside_blocks.append(model_in_block[0])
        return tensor

    model_in_block = [False]
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(lambda *_: model_in_block.__setitem__(0, True))
        block.register_forward_hook(lambda *_: model_in_block.__setitem__(0, False))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.randn(1, 3, 64, 64))
    assert any(inside_blocks) == feedback


def test_tap_reads_and_replaces_tokens():
    model, seen = tiny_vit(), []

    class Tap:
        def after_embed(self, images, patches, tokens):
            torch.testing.assert_close(tokens, patches + model.pos_embed)
            return tokens

        def after_block(self, index, tokens):
            seen.append(index)
            return torch.zeros_like(tokens)

        def after_neck(self, features):
            return features

    (features,) = model(torch.randn(1, 3, 64, 64), tap=Tap())
    assert seen == [0, 1, 2]
    torch.testing.assert_close(features, model.neck(torch.zeros(1, 48, 4, 4)))


def test_checkpointing_changes_nothing_but_memory():
    plain, saving = tiny_tssam(), tiny_tssam(backbone=dict(with_cp=True))
    saving.load_state_dict(plain.state_dict())
    images, gradients = torch.randn(2, 3, 64, 64), []
    for model in (plain, saving):
        model.train()(images).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("direction", "dims"), [("horizontal", (-1,)), ("vertical", (-2,)), ("diagonal", (-2, -1))])
def test_every_flip_is_undone(direction, dims):
    """The flips of mmcv's RandomFlip."""
    logits = torch.randn(1, 1, 64, 64)
    data = SegDataSample(metainfo=dict(ori_shape=(64, 64), flip=True, flip_direction=direction))
    (sample,) = tiny_tssam().postprocess_result(logits, [data])
    torch.testing.assert_close(sample.seg_logits.data, logits[0].flip(dims))


def test_flip_and_padding_are_undone():
    model = tiny_tssam()
    logits = torch.randn(1, 1, 64, 64)
    sample = SegDataSample(
        metainfo=dict(ori_shape=(40, 64), img_padding_size=(0, 0, 0, 24), flip=True, flip_direction="horizontal")
    )
    (sample,) = model.postprocess_result(logits, [sample])
    torch.testing.assert_close(sample.seg_logits.data, logits[0, :, :40].flip(-1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(backbone=dict(arch="vit_x")), "not one of"),
        (dict(backbone=dict(arch=dict(embed_dims=48))), "lacks"),
        (dict(backbone=dict(img_size=65)), "multiple of the patch size"),
        (dict(backbone=dict(attention="magic")), "not one of"),
        (dict(adapter=dict(csa_blocks=[0, 3])), "csa_blocks"),
        (dict(adapter=dict(mrm_blocks=[1, 1])), "mrm_blocks"),
        (dict(adapter=dict(feedback=False), backbone=dict(frozen=False)), "feedback=False"),
        (dict(decode_head=dict(type="SAMMaskDecoder"), num_classes=2), "num_classes=2"),
        (dict(adapter=dict(type="SAMAdapter")), "reduction=32 does not divide the encoder's width of 48"),
        (dict(adapter=dict(type="LoRAAdapter", r=0)), "LoRAAdapter: `r`"),
        (
            dict(adapter=dict(type="LoRAAdapter", target_modules=["query"])),
            "not linear layers of SAMViT; it has lin1, lin2, proj",
        ),
        (dict(adapter=dict(type="SAMAdapter", embed_dims=48)), "embed_dims is read from the encoder"),
        (dict(adapter=dict(type="LoRAAdapter"), backbone=dict(frozen=False)), "LoRAAdapter: the encoder is not frozen"),
    ],
)
def test_bad_configs_say_what_is_wrong(config, message):
    build = tiny_segmentor if "type" in config.get("adapter", {}) else tiny_tssam
    with pytest.raises(ConfigError, match=message):
        build(**config)
