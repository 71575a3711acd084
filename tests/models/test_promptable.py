"""Training and testing SAM with simulated prompts."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_ARCH

SIZE = 64
POINTS = dict(type="PointPrompts", num_positive=3, num_negative=1, erode=0)


def build(**kwargs):
    torch.manual_seed(0)
    backbone = dict(type="SAMViT", arch=TINY_ARCH, img_size=SIZE, **kwargs.pop("backbone", {}))
    model = MODELS.build(dict(type="PromptableSAM", backbone=backbone, **kwargs))
    model.backbone.init_weights()
    return model


def sample(index: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> SegDataSample:
    mask = torch.zeros(1, *size, dtype=torch.long)
    mask[:, 8 : 30 + index, 10:40] = 1
    result = SegDataSample(metainfo=dict(ori_shape=size, draw=(0, 0, index)))
    result.gt_sem_seg = PixelData(data=mask)
    return result


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_a_session_has_its_steps():
    model = build(train_prompts=dict(type="PromptSimulator", num_correction_points=3))
    seen = []
    decode = model.decode
    model.decode = lambda features, prompts, *args, **kw: seen.append(prompts) or decode(features, prompts, *args, **kw)
    model.loss(images(1), [sample()])
    assert len(seen) == 4
    assert [len(prompts) for prompts in seen] == [1] * 4
    counts = [0 if prompts.points is None else prompts.points.shape[1] for prompts in seen]
    assert counts == list(range(counts[0], counts[0] + 4))  # one more click each time
    assert seen[0].masks is None
    assert all(prompts.masks.shape == (1, 1, 16, 16) for prompts in seen[1:])


@pytest.mark.parametrize("prompts", [None, POINTS, dict(POINTS, point_mode="joint"), dict(POINTS, multi_mask="best")])
def test_losses_do_not_depend_on_the_batch(prompts):
    """The loss of a batch is the mean of its images'; prompts are a function of (seed, epoch, sample)."""
    model = build(train_prompts=prompts)
    together = model.loss(images(), [sample(0), sample(1)])
    alone = [model.loss(images()[i : i + 1], [sample(i)]) for i in range(2)]
    assert together.keys() == alone[0].keys() == {"loss_mask", "loss_dice", "loss_iou"}
    for name, value in together.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-5)
    other = sample(0)
    other.set_metainfo(dict(draw=(0, 1, 0)))
    if prompts is None:  # another epoch, other prompts
        assert model.loss(images(1), [other])["loss_mask"] != alone[0]["loss_mask"]


def test_gradients_reach_what_is_trained_and_nothing_else():
    model = build(backbone=dict(frozen=True), frozen=["decode_head.prompt_encoder"])
    sum(model.loss(images(), [sample(0), sample(1)]).values()).backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if name.startswith("decode_head.mask_decoder.")}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trained
    with pytest.raises(ConfigError, match="frozen names 'decoder'"):
        build(frozen=["decoder"])


def test_everything_can_be_trained():
    model = build(train_prompts=dict(type="PromptSimulator", box_prob=0.0, num_correction_points=1))
    sum(model.loss(images(), [sample(0), sample(1)]).values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    # Learned for boxes, padding and the lack of a mask: a click and its correction have... a lack of a mask at first.
    assert without <= {
        *(f"decode_head.prompt_encoder.point_embeddings.{k}.weight" for k in (0, 2, 3)),
        "decode_head.prompt_encoder.not_a_point_embed.weight",
    }


@pytest.mark.parametrize("size", [(64, 64), (40, 80), (100, 30)])
def test_prediction_has_the_size_of_the_image(size):
    model = build().eval()
    with torch.no_grad():
        (found,) = model.predict(images(1), [sample(size=size)])
        assert found.seg_logits.data.shape == found.pred_sem_seg.data.shape == (1, *size)
        assert torch.equal(found.pred_sem_seg.data, (found.seg_logits.data > 0).long())
        assert isinstance(found.predicted_iou, float)


def test_prediction_is_the_predictors():
    """A centre click through the Runner's way and through the Predictor is one answer."""
    from samplug.apis import Predictor

    model = build().eval()
    pixels = torch.randint(
        0, 256, (SIZE, SIZE, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8
    ).numpy()
    with torch.no_grad():
        inputs = model.normalise(torch.from_numpy(pixels).permute(2, 0, 1).float())
        (found,) = model.predict(inputs, [sample()])
    state = model.test_prompts.start(sample().gt_sem_seg.data[None] == 1, torch.Generator())
    predictor = Predictor(model)
    predictor.set_image(pixels)
    masks, scores, _ = predictor.predict(state.points[0, 0], state.labels[0, 0], return_logits=True)
    torch.testing.assert_close(found.seg_logits.data[0], torch.from_numpy(masks[scores.argmax()]), rtol=1e-4, atol=1e-4)


def test_empty_and_ignored_truth():
    model = build()
    empty, ignored = sample(), sample()
    empty.gt_sem_seg.data.zero_()
    ignored.gt_sem_seg.data.fill_(255)
    for kind in (empty, ignored):
        losses = model.loss(images(1), [kind])
        assert all(torch.isfinite(value) for value in losses.values())


def test_a_stretched_image_is_no_letterbox():
    """Clicks and masks would be taken to other places without a word."""
    stretched, fitting = sample(size=(40, 80)), sample(size=(40, 80))
    stretched.set_metainfo(dict(img_padding_size=(0, 0, 0, 0)))
    fitting.set_metainfo(dict(img_padding_size=(0, 0, 0, 32)))
    build().predict(images(1), [fitting])
    with pytest.raises(ConfigError, match="set keep_ratio=True in the pipelines"):
        build().predict(images(1), [stretched])
    build(frame="squash").predict(images(1), [stretched])


def test_no_truth_no_prompts():
    with pytest.raises(ConfigError, match=r"samplug\.apis\.Predictor"):
        build().predict(images(1), [SegDataSample(metainfo=dict(ori_shape=(SIZE, SIZE)))])


def test_wrong_mode():
    with pytest.raises(ConfigError, match="mode='train'"):
        build()(images(1), [sample()], mode="train")
    with pytest.raises(ConfigError, match="with data samples"):
        build()(images(1), mode="loss")
