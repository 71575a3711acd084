"""What every registered backbone, adapter and model promises."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from samplug.models.adapters import Adapter
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_HIERA, tiny_hiera, tiny_segmentor, tiny_tssam, tiny_vit

SAM2 = dict(backbone=dict(type="SAM2Hiera", arch=TINY_HIERA), decode_head=dict(type="SAM2MaskDecoder"))
BACKBONES = {"SAMViT": tiny_vit, "SAM2Hiera": tiny_hiera}
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
}


def build_variant(name: str):
    build = tiny_tssam if name.startswith("TSSAM") else tiny_segmentor
    return build(**MODEL_VARIANTS[name])


def test_every_component_is_covered():
    MODELS.import_from_location()
    parts = {
        "CachedEncoder",  # tests/models/test_cached.py
        "LetterboxPreProcessor",
        "SegTTAModel",  # tests/models/test_test_time.py
        "PromptableSAM",  # tests/models/test_promptable.py
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
        "sam2_prompted",
    }
    assert set(MODELS.module_dict) == set(BACKBONES) | {name.split("-")[0] for name in MODEL_VARIANTS} | parts


def samples(batch: int, classes: int, size: int = 64) -> list[SegDataSample]:
    result = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(ori_shape=(37, 50), img_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, max(classes, 2), (1, size, size)))
        result.append(sample)
    return result


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES)
def test_backbone(build, batch):
    model = build()
    model.init_weights()
    features = model(torch.randn(batch, 3, 64, 64))
    grid = model.img_size // model.patch_size
    for level, feature in enumerate(reversed(features)):
        assert feature.shape == (batch, model.out_channels, grid * 2**level, grid * 2**level)
    sum(feature.square().sum() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.isfinite(feature.float()).all() for feature in model(torch.randn(batch, 3, 64, 64)))


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES)
def test_frozen_backbone(build):
    model = build(frozen=True).train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES)
def test_wrong_input_size_says_so(build):
    with pytest.raises(ValueError, match="built for 64x64 inputs and got 48x64"):
        build()(torch.zeros(1, 3, 48, 64))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MODEL_VARIANTS)
def test_model(name, batch):
    model = build_variant(name).train()
    images, data = torch.randn(batch, 3, 64, 64), samples(batch, model.num_classes)
    assert model(images).shape == (batch, model.num_classes, 64, 64)

    losses = model(images, data, mode="loss")
    sum(losses.values()).backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
    assert any(p.requires_grad for p in model.backbone.parameters()) == (not model.backbone.frozen)
    assert model.backbone.training == (not model.backbone.frozen)

    with torch.autocast("cpu", torch.bfloat16):
        losses = model(images, data, mode="loss")
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in losses.values())

    model.eval()
    with torch.no_grad():
        for sample in model(images, data, mode="predict"):
            assert sample.seg_logits.data.shape == (model.num_classes, 37, 50)
            assert sample.pred_sem_seg.data.shape == (1, 37, 50)
            assert set(sample.pred_sem_seg.data.unique().tolist()) <= set(range(max(2, model.num_classes)))


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
        (dict(adapter=dict(type="LoRAAdapter", target_modules=["query"])), "LoRAAdapter: Target modules"),
        (dict(adapter=dict(type="LoRAAdapter"), backbone=dict(frozen=False)), "LoRAAdapter: the encoder is not frozen"),
    ],
)
def test_bad_configs_say_what_is_wrong(config, message):
    build = tiny_segmentor if "type" in config.get("adapter", {}) else tiny_tssam
    with pytest.raises(ConfigError, match=message):
        build(**config)
