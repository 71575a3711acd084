"""Training and testing SAM with simulated prompts."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from samplug.models import Prompts
from samplug.models.prompts import objects_of
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from samplug.utils.rle import decode_rle, encode_rle
from tests.builders import TINY_ARCH, TINY_HIERA

SIZE = 64
POINTS = dict(type="PointPrompts", num_positive=3, num_negative=1, erode=0)
SAM2 = dict(backbone=dict(type="SAM2Hiera", arch=TINY_HIERA), decode_head=dict(type="SAM2MaskDecoder", prompts=True))
CENTRES = dict(
    type="PromptSimulator", box_prob=0.0, num_correction_points=2, click="center", correction_from_truth_prob=0.0
)


def build(**kwargs):
    torch.manual_seed(0)
    backbone = {"type": "SAMViT", "arch": TINY_ARCH, "img_size": SIZE, "frozen": False, **kwargs.pop("backbone", {})}
    model = MODELS.build(dict(type="PromptableSAM", backbone=backbone, **kwargs))
    model.backbone.init_weights()
    return model


def sample(index: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> SegDataSample:
    mask = torch.zeros(1, *size, dtype=torch.long)
    mask[:, 8 : 30 + index, 10:40] = 1
    result = SegDataSample(metainfo=dict(ori_shape=size, sample_seed=(0, 0, index)))
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


@pytest.mark.parametrize("prompts", [None, POINTS, dict(POINTS, point_mode="joint"), dict(POINTS, merge_mode="best")])
def test_losses_do_not_depend_on_the_batch(prompts):
    """The loss of a batch is the mean of its images'; prompts are a function of (seed, epoch, sample)."""
    model = build(train_prompts=prompts)
    together = model.loss(images(), [sample(0), sample(1)])
    alone = [model.loss(images()[i : i + 1], [sample(i)]) for i in range(2)]
    assert together.keys() == alone[0].keys() == {"loss_mask", "loss_dice", "loss_iou"}
    for name, value in together.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-5)
    other = sample(0)
    other.set_metainfo(dict(sample_seed=(0, 1, 0)))
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


@pytest.mark.parametrize("arch", ["sam", "sam2"])
def test_activation_checkpointing_of_a_session(arch):
    """The same losses and gradients from a small part of what is kept otherwise, however many objects and corrections there are."""
    parts = {} if arch == "sam" else SAM2
    found = []
    for with_cp in (False, True):
        model = build(
            **parts, with_cp=with_cp, train_prompts=dict(type="PromptSimulator", num_correction_points=4)
        ).train()
        features = model.encode(images(1))
        model.encode = lambda *_, known=features: known
        kept = Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept.add, lambda tensor: tensor):
            losses = model.loss(images(1), [instances(0, 5, 9)])
        sum(losses.values()).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((losses, gradients, sum(kept.bytes.values())))
    (losses, gradients, plain), (again, same, checkpointed) = found
    assert checkpointed < plain / 10
    assert losses.keys() == again.keys()
    for name, value in losses.items():
        torch.testing.assert_close(again[name], value)
    assert gradients.keys() == same.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(same[name], value, rtol=1e-4, atol=1e-6)


class Kept:
    """Bytes of what a graph keeps, each storage once; parameters are there anyway."""

    def __init__(self):
        self.bytes, self.tensors = {}, []

    def add(self, tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            self.tensors.append(tensor)  # its storage's address must not be used again
            self.bytes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor


@pytest.mark.parametrize("objects", [(), (0, 5)])
@pytest.mark.parametrize(
    "prompts",
    [
        dict(type="PromptSimulator", box_prob=box_prob, mask_prob=mask_prob, num_correction_points=corrections)
        for box_prob, mask_prob in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
        for corrections in (0, 1)
    ]
    + [POINTS],
    ids=str,
)
def test_every_step_has_a_gradient_for_every_parameter(prompts, objects, monkeypatch):
    """Data parallelism waits for each of them, whatever was drawn; broken values of unused ones do not reach the loss."""
    monkeypatch.setattr("samplug.models.promptable.is_distributed", lambda: True)
    for parts in ({}, SAM2):
        model = build(**parts, train_prompts=prompts).train()
        losses = model.loss(images(1), [instances(*objects)])
        sum(losses.values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
    if not objects:
        for parameter in model.decode_head.sam_prompt_encoder.mask_downscaling.parameters():
            parameter.data.fill_(float("nan"))
        assert all(value == 0 for value in model.loss(images(1), [instances()]).values())


def test_losses_by_name():
    """A name and a config are the same loss, as in the other models."""
    found = [
        build(loss=loss).loss(images(1), [sample()]) for loss in (None, "sam2_prompted", dict(type="sam2_prompted"))
    ]
    assert found[0] == found[1] == found[2]
    assert build(loss=dict(type="sam2_prompted", mask_weight=5.0)).loss_fn.mask_weight == 5
    with pytest.raises(KeyError, match="no_such_loss"):
        build(loss="no_such_loss")


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_the_decoders_threshold_decides(threshold):
    model = build(decode_head=dict(type="SAMMaskDecoder", prompts=True, threshold=threshold)).eval()
    with torch.no_grad():
        (found,) = model.predict(images(1), [sample()])
    expected = found.seg_logits.data.sigmoid() > threshold
    assert (found.seg_logits.data.sigmoid() > 0.4).float().mean() > 0.2  # logits on both sides of most thresholds
    assert torch.equal(found.pred_sem_seg.data == 1, expected)
    assert (decode_rle(found.pred_instances.masks[0]) == expected[0].numpy()).all()


def test_dynamic_multimask_is_a_setting():
    """SAM 2's predictor replaces masks that are not stable, SAM's does not; either model can be told."""
    features = Prompts(points=torch.tensor([[[20.0, 30.0]]]), labels=torch.tensor([[1]]))
    for parts, default in (({}, False), (SAM2, True)):
        model, other = build(**parts).eval(), build(**parts, dynamic_multimask=not default).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            maps = model.encode(images(1))
            own, changed = (one.decode(maps, features).logits for one in (model, other))
            assert model.dynamic_multimask == default
            assert not torch.equal(own, changed)  # random masks are not stable
            assert torch.equal(model.decode(maps, features, dynamic=not default).logits, changed)


def test_samples_are_mmdets(tmp_path):
    """mmdet's CocoMetric scores the masks and the boxes of the samples: perfect masks 1, shifted ones as their overlap says."""
    from mmdet.evaluation import CocoMetric

    model = build(test_prompts=CENTRES).eval()
    truth = instances(0, 20)
    with torch.no_grad():
        (found,) = model.predict(images(1), [truth])
    instance_masks = [encode_rle(mask == 1) for mask in truth.gt_instances.masks.masks]
    found.set_metainfo(dict(img_id=1))
    boxes = [[10, 8, 40, 30], [10, 8, 40, 50]]

    def scores():
        metric = CocoMetric(metric=["bbox", "segm"], outfile_prefix=str(tmp_path / "coco"))
        metric.dataset_meta = dict(classes=("object",))
        ground_truth = [
            dict(bbox=box, bbox_label=0, mask=mask, ignore_flag=0)
            for box, mask in zip(boxes, instance_masks, strict=True)
        ]
        metric.process({}, [dict(found.to_dict(), instances=ground_truth)])
        return metric.evaluate(1)

    before = scores()
    assert before["coco/segm_mAP"] < 1
    assert before["coco/bbox_mAP"] < 1
    predicted = found.pred_instances
    assert predicted.bboxes.dtype == torch.float32
    assert predicted.labels.tolist() == [0, 0]
    for mask, (x0, y0, x1, y1) in zip(predicted.masks, predicted.bboxes.int().tolist(), strict=True):
        inside = decode_rle(mask)
        assert inside[y0:y1, x0:x1].sum() == inside.sum()
        assert all(edge.any() for edge in (inside[y0, :], inside[y1 - 1, :], inside[:, x0], inside[:, x1 - 1]))
    found.pred_instances = predicted.new(masks=instance_masks, bboxes=torch.tensor(boxes).float(),
                                         labels=predicted.labels, scores=predicted.scores)  # fmt: skip
    after = scores()
    assert after["coco/segm_mAP"] == after["coco/bbox_mAP"] == 1


def test_boxes_of_empty_masks_are_zero():
    model = build(test_prompts=CENTRES, decode_head=dict(type="SAMMaskDecoder", prompts=True, threshold=1.0)).eval()
    with torch.no_grad():
        (found,) = model.predict(images(1), [instances(0, 20)])
    assert found.pred_instances.bboxes.tolist() == [[0] * 4] * 2


@pytest.mark.parametrize("size", [(64, 64), (40, 80), (100, 30)])
def test_prediction_has_the_size_of_the_image(size):
    model = build().eval()
    with torch.no_grad():
        (found,) = model.predict(images(1), [sample(size=size)])
        assert found.seg_logits.data.shape == found.pred_sem_seg.data.shape == (1, *size)
        assert torch.equal(found.pred_sem_seg.data, (found.seg_logits.data > 0).long())
        assert found.pred_instances.scores.shape == (1,)
        assert found.pred_clicks.scores.shape == (1, 1)


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


def instances(*indexes: int, size: tuple[int, int] = (SIZE, SIZE)) -> DetDataSample:
    """The objects of several :func:`sample` in one image, as mmdet's pipeline packs them."""
    masks = [sample(index, size).gt_sem_seg.data[0].numpy().astype("uint8") for index in indexes]
    result = DetDataSample(metainfo=dict(ori_shape=size, sample_seed=(0, 0, 0)))
    result.gt_instances = InstanceData(masks=BitmapMasks(masks, *size))
    return result


def test_objects_of_an_image_are_objects_of_the_batch():
    """Whatever image they are in, objects count alike, and the answer to one does not depend on the others."""
    model = build(train_prompts=CENTRES, test_prompts=CENTRES)
    image = images(1).expand(3, -1, -1, -1)
    together = model.loss(image[:2], [instances(0, 5), instances(9)])
    apart = model.loss(image, [sample(0), sample(5), sample(9)])
    for name, value in together.items():
        torch.testing.assert_close(value, apart[name], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        (found,) = model.eval().predict(image[:1], [instances(0, 9)])
        singles = model.predict(image[:2], [sample(0), sample(9)])
    assert found.pred_clicks.scores.shape == (2, 3)
    for masks, scores, single in zip(found.pred_clicks.masks, found.pred_clicks.scores, singles, strict=True):
        assert len(masks) == 3
        assert (decode_rle(masks[-1]) == (single.pred_sem_seg.data[0].numpy() == 1)).mean() > 0.999
        torch.testing.assert_close(scores, single.pred_clicks.scores[0], rtol=1e-4, atol=1e-4)
    assert found.pred_instances.masks == [masks[-1] for masks in found.pred_clicks.masks]
    assert torch.equal(found.pred_instances.scores, found.pred_clicks.scores[:, -1])


def test_objects_in_parts_are_objects_at_once(monkeypatch):
    model = build(test_prompts=CENTRES).eval()
    everything = range(6)
    with torch.no_grad():
        (at_once,) = model.predict(images(1), [instances(*everything)])
        monkeypatch.setattr("samplug.models.interaction._MOST_OBJECTS", 4)
        (in_parts,) = model.predict(images(1), [instances(*everything)])
    torch.testing.assert_close(in_parts.pred_clicks.scores, at_once.pred_clicks.scores, rtol=1e-4, atol=1e-4)
    assert len(in_parts.pred_clicks.masks) == len(in_parts.pred_instances) == 6


def test_an_image_without_objects():
    model = build()
    losses = model.loss(images(1), [instances()])
    assert all(value == 0 for value in losses.values())
    sum(losses.values()).backward()  # a rank of several must not stop the others
    beside = model.loss(images(), [instances(), sample(1)])
    alone = model.loss(images()[1:], [sample(1)])
    torch.testing.assert_close(beside["loss_dice"], alone["loss_dice"], rtol=1e-4, atol=1e-5)
    (found,) = model.eval().predict(images(1), [instances()])
    assert found.pred_clicks.masks == []
    assert found.pred_clicks.scores.shape == (0, 1)
    assert found.pred_instances.bboxes.shape == (0, 4)


@pytest.mark.parametrize("click", ["uniform", "center"])
def test_padding_is_never_clicked(click):
    """What the model says of the padding is no error of its."""
    model = build(train_prompts=dict(CENTRES, click=click, num_correction_points=8))
    seen = []
    decode = model.decode

    def everything(features, prompts, *args, **kwargs):
        seen.append(prompts)
        masks = decode(features, prompts, *args, **kwargs)
        return masks._replace(logits=masks.logits.abs() + 1)

    model.decode = everything
    model.loss(images(1), [instances(0, size=(40, SIZE))])
    assert (seen[-1].points[..., 1] < 40).all()
    assert (seen[-1].labels[0, 1:] == 0).all()


@pytest.mark.parametrize("patch_size", [8, 16])
def test_a_session_may_begin_with_a_mask(patch_size):
    """The decoder is given the truth at its own resolution, then clicks as always."""
    model = build(
        train_prompts=dict(CENTRES, mask_prob=1.0), backbone=dict(arch={**TINY_ARCH, "patch_size": patch_size})
    )
    seen = []
    decode = model.decode
    model.decode = lambda features, prompts, *args, **kw: seen.append(prompts) or decode(features, prompts, *args, **kw)
    losses = model.loss(images(1), [sample()])
    side = 4 * SIZE // patch_size
    first = seen[0].masks
    assert seen[0].points is None
    assert seen[0].boxes is None
    assert first.shape == (1, 1, side, side)
    truth = torch.nn.functional.interpolate(sample().gt_sem_seg.data[None].float(), (side, side), mode="area") > 0.5
    assert ((first > 0) == truth).float().mean() > 0.97
    assert seen[1].points.shape == (1, 1, 2)
    sum(losses.values()).backward()


def test_polygons_are_no_masks():
    broken = instances(0)
    broken.gt_instances = InstanceData(masks=[[[0.0, 0, 5, 0, 5, 5]]])
    with pytest.raises(ConfigError, match="poly2mask=True"):
        build().loss(images(1), [broken])
    wrong = instances(0, size=(32, 32))
    wrong.set_metainfo(dict(ori_shape=(64, 64)))
    with pytest.raises(ConfigError, match="load masks after the resize"):
        build().predict(images(1), [wrong])


@pytest.mark.parametrize("values", [(0, 255), (0, 7), (0.0, 0.6), (0, -1)])
def test_masks_of_other_values_are_not_trained_on(values):
    """255 means not known: of masks of 0 and 255 nothing would be learnt but background, without a word."""
    off, on = values
    mask = torch.full((2, SIZE, SIZE), off)
    mask[:, 8:30, 10:40] = on
    odd = instances(0)
    odd.set_metainfo(dict(img_path="a/odd.jpg"))
    odd.gt_instances = InstanceData(masks=mask)
    with pytest.raises(ConfigError, match=r"a/odd\.jpg.* 1 on the object and 0 off it"):
        build().loss(images(1), [odd])
    with pytest.raises(ConfigError, match=r"a/odd\.jpg"):
        build().predict(images(1), [odd])


def test_unknown_pixels_of_an_object():
    mask = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    mask[0, 8:30, 10:40] = 1
    mask[:, 30:32] = 255
    odd = instances(0)
    odd.gt_instances = InstanceData(masks=mask)
    assert torch.equal(objects_of(odd)[:, 0], mask)
    odd.gt_instances = InstanceData(masks=mask == 1)
    assert torch.equal(objects_of(odd)[:, 0], (mask == 1).byte())


@pytest.mark.parametrize("size", [(40, 64), (128, 80), (20, 10)])
@pytest.mark.parametrize("packed", [sample, instances])
def test_a_truth_of_another_size_is_not_trained_on(size, packed):
    """Masks that were not resized with the image would be cut or put elsewhere without a word."""
    model = build(train_prompts=CENTRES)
    image = torch.zeros(3, 40, 64, dtype=torch.uint8)
    truth = sample(size=size) if packed is sample else instances(0, size=size)
    truth.set_metainfo(dict(img_shape=(40, 64)))
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[truth]), True)
    if size == (40, 64):
        assert model.loss(**data)
    else:
        with pytest.raises(ConfigError, match="load masks before the resize in the training pipeline"):
            model.loss(**data)


def test_masks_of_the_size_of_the_input():
    """Their image was made smaller: they fit the input, and lie elsewhere; unless they were padded with it."""
    model = build(train_prompts=CENTRES)
    truth = instances(0)
    truth.set_metainfo(dict(img_shape=(40, 40)))
    with pytest.raises(ConfigError, match="load masks before the resize in the training pipeline"):
        model.loss(images(1), [truth])
    truth.set_metainfo(dict(batch_input_shape=(SIZE, SIZE)))
    assert model.loss(images(1), [truth])


def test_an_object_lost_in_the_resize_is_clicked():
    """It is a pixel in ten: a click elsewhere, labelled as background, would ask for something else."""
    model = build(test_prompts=CENTRES).eval()
    small = sample(size=(10 * SIZE, 10 * SIZE))
    small.gt_sem_seg.data.zero_()
    small.gt_sem_seg.data[0, 100, 203] = 1
    seen = []
    decode = model.decode
    model.decode = lambda features, prompts, *args, **kw: seen.append(prompts) or decode(features, prompts, *args, **kw)
    with torch.no_grad():
        model.predict(images(1), [small])
    assert seen[0].points.tolist() == [[[20, 10]]]
    assert seen[0].labels.tolist() == [[1]]


def test_boxes_beside_a_label_map():
    """mmdet packs ``gt_instances`` always; without masks the label map is the truth."""
    model = build(train_prompts=CENTRES, test_prompts=CENTRES)
    packed = DetDataSample(metainfo=dict(ori_shape=(SIZE, SIZE), sample_seed=(0, 0, 0)))
    packed.gt_instances = InstanceData(bboxes=torch.zeros(2, 4))
    packed.gt_sem_seg = sample().gt_sem_seg
    assert model.loss(images(1), [packed]) == model.loss(images(1), [sample()])
    (found,) = model.eval().predict(images(1), [packed])
    assert found.pred_sem_seg.data.shape == (1, SIZE, SIZE)


def test_a_stretched_image_is_no_letterbox():
    """Clicks and masks would be taken to other places without a word."""
    stretched, fitting = sample(size=(40, 80)), sample(size=(40, 80))
    stretched.set_metainfo(dict(img_padding_size=(0, 0, 0, 0)))
    fitting.set_metainfo(dict(img_padding_size=(0, 0, 0, 32)))
    build().predict(images(1), [fitting])
    with pytest.raises(ConfigError, match="set keep_ratio=True in the pipelines"):
        build().predict(images(1), [stretched])
    build(geometry="squash").predict(images(1), [stretched])


def test_old_keys_name_the_new_ones():
    with pytest.raises(ConfigError, match="PromptableSAM: frame='squash' is geometry='squash' now"):
        build(frame="squash")
    with pytest.raises(ConfigError, match="PointPrompts: multi_mask='best' is merge_mode='best' now"):
        build(train_prompts=dict(POINTS, multi_mask="best"))


def test_unknown_geometry():
    with pytest.raises(ConfigError, match="geometry='sqaush' is unknown: use one of letterbox, squash"):
        build(geometry="sqaush")


def test_no_truth_no_prompts():
    with pytest.raises(ConfigError, match=r"samplug\.apis\.Predictor"):
        build().predict(images(1), [SegDataSample(metainfo=dict(ori_shape=(SIZE, SIZE)))])


def test_wrong_mode():
    with pytest.raises(ConfigError, match="mode='train'"):
        build()(images(1), [sample()], mode="train")
    with pytest.raises(ConfigError, match="with data samples"):
        build()(images(1), mode="loss")


@pytest.mark.parametrize("arch", ["SAMViT", "SAM2Hiera"])
def test_lora_keeps_it_promptable(arch):
    """Updates start at zero, all of them learn, and with the decoder they are all that does."""
    pytest.importorskip("peft")
    sizes, head = {
        "SAMViT": (TINY_ARCH, "SAMMaskDecoder"),
        "SAM2Hiera": (TINY_HIERA, "SAM2MaskDecoder"),
    }[arch]

    def model(**kwargs):
        torch.manual_seed(0)
        backbone = dict(type=arch, arch=sizes, img_size=SIZE, frozen=True)
        built = MODELS.build(
            dict(type="PromptableSAM", backbone=backbone, decode_head=dict(type=head, prompts=True), **kwargs)
        )
        built.backbone.init_weights()
        return built

    lora = dict(type="LoRAAdapter", r=2, target_modules=["qkv", "proj"])
    adapted, plain = model(adapter=lora, train_prompts=CENTRES), model()
    plain.load_state_dict({k: v for k, v in adapted.state_dict().items() if not k.startswith("adapter.")})
    torch.testing.assert_close(adapted.eval().encode(images())[-1], plain.eval().encode(images())[-1])
    adapted.train()
    optimiser = torch.optim.SGD((p for p in adapted.parameters() if p.requires_grad), lr=1e-3)
    for _ in range(2):  # A has no gradient while B is zero
        optimiser.zero_grad()
        sum(adapted.loss(images(), [sample(0), sample(1)]).values()).backward()
        optimiser.step()
    learned = {name for name, p in adapted.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name for name, _ in adapted.named_parameters() if name.startswith("adapter.")} <= learned
    assert not any(name.startswith("backbone.") for name in learned)


def test_adapters_with_maps_of_their_own():
    with pytest.raises(ConfigError, match="TSSAMSideNetwork has maps of its own"):
        build(backbone=dict(frozen=True), adapter=dict(type="TSSAMSideNetwork", side_channels=16, mrm_blocks=[2]))


def test_what_sam2_calls_absent_is_hidden_in_training_only():
    """In a test a user would see the mask: :class:`Predictor` shows it."""
    torch.manual_seed(0)
    backbone = dict(type="SAM2Hiera", arch=TINY_HIERA, img_size=SIZE)
    model = MODELS.build(
        dict(type="PromptableSAM", backbone=backbone, decode_head=dict(type="SAM2MaskDecoder", prompts=True))
    )
    hidden = []
    own = model.decode
    model.decode = lambda *args, **kwargs: hidden.append(kwargs["hide_absent"]) or own(*args, **kwargs)
    model.train().loss(images(1), [sample()])
    assert all(hidden)
    hidden.clear()
    model.eval().predict(images(1), [sample()])
    assert hidden == [False]
