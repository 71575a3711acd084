"""Equality of SAM 2's image model with the original implementation and with transformers."""

import pytest
import torch

from samplug.checkpoints import load_weights
from samplug.registry import MODELS
from tests.builders import TINY_HIERA

CASES = ["none", "point", "points_pos_neg", "box", "boxes3", "point_and_box", "mask", "point_and_mask", "all"]
MODES = {"single": dict(), "single_dynamic": dict(dynamic=True), "multi": dict(multimask=True)}
CLOSE = dict(rtol=1e-4, atol=1e-4)
SCORES = dict(rtol=1e-4, atol=1e-5)


def sam2(img_size: int = 256, arch: dict = TINY_HIERA):
    model = MODELS.build(
        dict(
            type="SAMSegmentor",
            backbone=dict(type="SAM2Hiera", arch=arch, img_size=img_size),
            decode_head=dict(type="SAM2MaskDecoder", prompts=True),
        )
    )
    return model.eval()


@pytest.fixture(scope="module")
def original(parity, tmp_path_factory):
    """The reference tensors, the model with their weights, and its features."""
    reference = parity("sam2_tiny.pt")
    config = reference["config"]
    arch = dict(
        embed_dims=config["e"],
        num_heads=config["heads"],
        stages=config["stages"],
        global_attn_blocks=config["glob"],
        window_pos_embed_bkg_spatial_size=config["bkg"],
        window_spec=config["win"],
    )
    path = tmp_path_factory.mktemp("sam2") / "sam2.pt"
    torch.save({"model": {key: value.clone() for key, value in reference["model"].items()}}, path)
    model = sam2(config["S"], arch)
    assert load_weights(model, str(path)).fits
    with torch.no_grad():
        features = model.extract_feat(reference["input"])
    return reference, model.decode_head, features


def test_features(original):
    reference, decoder, features = original
    with torch.no_grad():
        *high_res, image = decoder.image_features(features)
    torch.testing.assert_close(image, reference["image_embed"], **CLOSE)
    for ours, theirs in zip(high_res, reference["high_res_feats"], strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def embed(decoder, reference, name):
    """The prompts of a case, in the frame of the network, for one image."""
    case, prompt = reference["cases"][name], reference["prompts"][name]
    points, labels, boxes, mask = (
        None if value is None else value[None]
        for value in (case["model_points"], prompt["labels"], case["model_boxes"], prompt["mask"])
    )
    size = reference["config"]["S"]
    if boxes is not None:
        boxes = boxes.flatten(2)
    return decoder.embed_prompts(size, size // 16, points, None if points is None else labels[None], boxes, mask)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_prompts(original, name, mode):
    reference, decoder, features = original
    assert set(reference["cases"]) == set(CASES)
    expected = reference["cases"][name][mode]
    with torch.no_grad():
        logits, iou, score = decoder.decode(
            decoder.image_features(features), *embed(decoder, reference, name), **MODES[mode]
        )
    torch.testing.assert_close(logits[0], expected["low_res"], **CLOSE)
    torch.testing.assert_close(iou[0], expected["iou"], **SCORES)
    torch.testing.assert_close(score[0], expected["object_score_logits"], **SCORES)


def test_the_dynamic_choice_is_tried(original):
    """The reference holds prompts whose single mask is replaced, and one where it is not."""
    cases = original[0]["cases"].values()
    replaced = [not torch.equal(case["single"]["low_res"], case["single_dynamic"]["low_res"]) for case in cases]
    assert any(replaced)
    assert not all(replaced)


@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize("name", ["none", "point", "mask", "point_and_mask"])
def test_heads(original, name, mode):
    """As in training and tracking: without points one that is padding, and no masks of absent objects."""
    reference, decoder, features = original
    assert set(reference["heads"]) == {"none", "point", "mask", "point_and_mask"}
    case, prompt, expected = reference["cases"][name], reference["prompts"][name], reference["heads"][name][mode]
    points, labels = torch.zeros(1, 1, 1, 2), torch.tensor([[[-1]]])
    if case["model_points"] is not None:
        points, labels = case["model_points"][None], prompt["labels"][None, None]
    mask = None if prompt["mask"] is None else prompt["mask"][None]
    with torch.no_grad():
        prompts = decoder.embed_prompts(reference["config"]["S"], 16, points, labels, masks=mask)
        logits, iou, score = decoder.decode(decoder.image_features(features), *prompts, hide_absent=True, **MODES[mode])
    torch.testing.assert_close(logits[0], expected["low_res_multimasks"], **CLOSE)
    torch.testing.assert_close(logits[:, 0, iou[0, 0].argmax()], expected["low_res_masks"][0], **CLOSE)
    torch.testing.assert_close(iou[0], expected["ious"], **SCORES)
    torch.testing.assert_close(score[0], expected["object_score_logits"], **SCORES)


def test_as_decode_head(original):
    reference, decoder, features = original
    with torch.no_grad():
        torch.testing.assert_close(decoder(features), reference["cases"]["none"]["single"]["low_res"], **CLOSE)


def transformers_sam2(size: int):
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    widths = [TINY_HIERA["embed_dims"] * 2**stage for stage in range(4)]
    trunk = Sam2HieraDetConfig(
        hidden_size=widths[0],
        blocks_per_stage=TINY_HIERA["stages"],
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[1, 2, 4, 8],
        global_attention_blocks=TINY_HIERA["global_attn_blocks"],
    )
    vision = Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[size // stride, size // stride] for stride in (4, 8, 16)],
    )
    model = Sam2Model(Sam2Config(vision_config=vision, prompt_encoder_config=dict(image_size=size))).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    # One matrix in published files.
    model.shared_image_embedding.positional_embedding.copy_(model.prompt_encoder.shared_embedding.positional_embedding)
    return model


@pytest.mark.parametrize("size", [256, 512])
def test_transformers_agrees(tmp_path, size):
    theirs, model = transformers_sam2(size), sam2(size)
    theirs.save_pretrained(tmp_path)
    assert load_weights(model, str(tmp_path / "model.safetensors")).fits
    images, points = torch.randn(2, 3, size, size), size * torch.rand(2, 3, 2, 2)
    labels, boxes = torch.randint(0, 2, (2, 3, 2)), size * torch.rand(2, 3, 4)
    masks = torch.randn(2, 1, size // 4, size // 4)
    with torch.no_grad():
        features = model.extract_feat(images)
        for prompt in (dict(points=points, labels=labels), dict(boxes=boxes, masks=masks)):
            prompts = model.decode_head.embed_prompts(size, size // 16, **prompt)
            for multimask in (False, True):
                ours = model.decode_head.decode(
                    model.decode_head.image_features(features), *prompts, multimask=multimask, dynamic=True
                )
                expected = theirs(
                    images, multimask_output=multimask, **{f"input_{key}": value for key, value in prompt.items()}
                )
                torch.testing.assert_close(ours.logits, expected.pred_masks, **CLOSE)
                torch.testing.assert_close(ours.iou, expected.iou_scores, **CLOSE)
                torch.testing.assert_close(ours.object_score, expected.object_score_logits, **CLOSE)
