"""Readouts, heads and predictions of linear probes."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import nn

from samplug.checkpoints import WeightsError, load_weights
from samplug.checkpoints.filled import EmptyStateError
from samplug.engine.optim import TrainableOptimWrapperConstructor
from samplug.evaluation.metrics import TopKAccuracy
from samplug.models.probe import LinearProbe, ProbeHeads, Readout, head_name
from samplug.models.probe.linear_probe import true_class_rank
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError, DataError
from tests.builders import TINY_ARCH, TINY_HIERA, save_encoder, tiny_hiera, tiny_vit
from tests.models.test_contract import ClassTokenViT

POOLINGS = ["cls", "cls+mean", "last3", "last3+mean"]
RATES = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1]
CLASSES = 5


class ProjectingViT(ClassTokenViT):
    """With a projection, as CLIP has it."""

    projection_dims = 6

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.proj = nn.Parameter(torch.randn(8, 6))

    def project(self, class_token):
        return class_token @ self.proj


@pytest.fixture(scope="module", autouse=True)
def own_encoder():
    """An encoder with class tokens, in the registry only as long as the tests of this file run."""
    MODELS.register_module(name="ClassTokenEncoder", module=ClassTokenViT)
    yield
    MODELS.module_dict.pop("ClassTokenEncoder")


def probe(backbone="ClassTokenEncoder", classes=CLASSES, **kwargs) -> LinearProbe:
    cfg = dict(type=backbone) if isinstance(backbone, str) else backbone
    kwargs.setdefault("readout", dict(poolings=POOLINGS))
    return MODELS.build(dict(type="LinearProbe", backbone=cfg, num_classes=classes, **kwargs))


def samples(labels) -> list[BaseDataElement]:
    found = []
    for label in labels:
        sample = BaseDataElement()
        sample.gt_label = torch.tensor([label])
        found.append(sample)
    return found


# --- readouts ------------------------------------------------------------------------------------------------------------------


def test_readout_of_class_tokens_equals_the_official_order():
    """DINOv2: class tokens of the last n blocks, the earliest first, then the mean of the last block's patches."""
    encoder = ClassTokenViT(frozen=True)
    nn.init.normal_(encoder.norm.weight)
    images = torch.randn(2, 3, 64, 96)
    outputs = encoder.tokens(images, range(3), norm=True)
    first, second, third = (output.class_token for output in outputs)
    mean = outputs[-1].patches.flatten(2).mean(2)
    readout = Readout(encoder, poolings=[*POOLINGS, "mean", "last2"])
    record = readout.record(images)
    assert record.shape == (2, readout.dim) == (2, 4 * 8)
    assert record.dtype == torch.float32
    assert not record.requires_grad
    expected = {
        "cls": [third],
        "cls+mean": [third, mean],
        "last3": [first, second, third],
        "last3+mean": [first, second, third, mean],
        "mean": [mean],
        "last2": [second, third],
    }
    found = readout.split(record)
    assert list(found) == list(expected) == list(readout.dims)
    for name, parts in expected.items():
        torch.testing.assert_close(found[name], torch.cat(parts, 1))
        assert found[name].shape[1] == readout.dims[name]
    raw = Readout(encoder, poolings=["cls"], norm=False)
    torch.testing.assert_close(raw.record(images), encoder.tokens(images, norm=False)[0].class_token)
    assert not torch.allclose(raw.record(images), third)


@pytest.mark.parametrize("build", [tiny_vit, tiny_hiera])
def test_readout_of_maps(build):
    encoder = build(frozen=True)
    images = torch.randn(2, 3, 64, 64)
    maps = encoder(images)
    cases = {"trunk": encoder.tokens(images)[0].patches, "neck": maps[-1]}
    cases |= {f"level{level}": values for level, values in enumerate(maps)}
    assert len(cases) == 2 + encoder.neck_levels
    for source, values in cases.items():
        readout = Readout(encoder, source)
        record = readout.record(images)
        assert record.shape == (2, readout.dim)
        torch.testing.assert_close(readout.split(record)["mean"], values.sum((2, 3)) / values[0, 0].numel())


def test_readout_of_a_projection():
    encoder, images = ProjectingViT(frozen=True), torch.randn(2, 3, 64, 64)
    readout = Readout(encoder, "projection", ["cls"])
    assert readout.dim == 6
    torch.testing.assert_close(readout.record(images), encoder.tokens(images)[0].class_token @ encoder.proj)


def test_settings_name_what_a_record_depends_on():
    """Records may be shared if and only if these are equal."""
    encoder = ClassTokenViT(frozen=True)
    settings = Readout(encoder, poolings=["cls+mean"]).settings
    assert Readout(encoder, poolings=["cls", "mean"]).settings == settings
    for others in (dict(poolings=["cls"]), dict(norm=False), dict(dtype="bfloat16"), dict(poolings=["last2+mean"])):
        assert Readout(encoder, **{"poolings": ["cls+mean"], **others}).settings != settings


def test_precision_of_the_run_does_not_reach_the_encoder():
    encoder, images = tiny_vit(frozen=True), torch.randn(1, 3, 64, 64)
    half = Readout(encoder, dtype="bfloat16").record(images)
    record = Readout(encoder).record(images)
    assert half.dtype == torch.float32
    assert 0 < (half - record).abs().max() < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Readout(encoder).record(images), record)


@pytest.mark.parametrize(
    ("encoder", "arguments", "message"),
    [
        (tiny_vit, dict(source="projection"), r"SAMViT has no source 'projection' .*: use trunk, neck, level0"),
        (tiny_vit, dict(source="level1"), "use trunk, neck, level0"),
        (tiny_hiera, dict(source="level3"), "did you mean .*use trunk, neck, level0, level1, level2"),
        (ClassTokenViT, dict(source="neck"), "no source 'neck'.*: use trunk$"),
        (tiny_vit, dict(poolings=["cls"]), "SAMViT has no pooling 'cls' of its 'trunk': use mean$"),
        (tiny_vit, dict(source="neck", poolings=["last4"]), "of its 'neck': use mean$"),
        (ClassTokenViT, dict(poolings=["last4"]), r"no pooling 'last4'.*use cls, mean, cls\+mean, last1 to last3"),
        (ClassTokenViT, dict(poolings=["median"]), "use cls, mean"),
        (ProjectingViT, dict(source="projection", poolings=["mean"]), "of its 'projection': use cls$"),
        (ProjectingViT, dict(source="projection", poolings=["last2"]), "of its 'projection': use cls$"),
        (ClassTokenViT, dict(poolings=["cls+last2"]), "has a vector twice"),
        (ClassTokenViT, dict(poolings="cls"), "must be a list"),
        (ClassTokenViT, dict(poolings=["cls", "cls"]), "different names"),
        (tiny_vit, dict(norm=True), "SAMViT has no norm after its last block"),
        (tiny_vit, dict(source="neck", norm=False), "norm=False is for source='trunk'"),
        (tiny_vit, dict(dtype="half"), "dtype='half' is unknown"),
    ],
)
def test_a_readout_that_the_encoder_lacks_is_an_error(encoder, arguments, message):
    with pytest.raises(ConfigError, match=message):
        Readout(encoder(frozen=True), **arguments)


def test_a_record_of_another_readout_is_an_error():
    with pytest.raises(ConfigError, match=r"a record of 48 values an image is needed, not \(2, 8\)"):
        Readout(tiny_vit(frozen=True)).split(torch.zeros(2, 8))


# --- heads ---------------------------------------------------------------------------------------------------------------------


def test_heads_have_the_published_names():
    names = [head_name(pooling, 4 * rate) for pooling in ("cls", "cls+mean", "last4", "last4+mean") for rate in RATES]
    assert len(set(names)) == 52
    assert names[0] == "classifier_1_blocks_avgpool_False_lr_0_00004"
    assert names[13 + 12] == "classifier_1_blocks_avgpool_True_lr_0_40000"
    assert names[26 + 5] == "classifier_4_blocks_avgpool_False_lr_0_00200"
    assert names[39] == "classifier_4_blocks_avgpool_True_lr_0_00004"
    assert head_name("mean", 0.001) == "classifier_mean_lr_0_00100"


def test_names_that_collide_are_an_error():
    heads = ProbeHeads(dict(cls=4), 3, lr_mults=RATES)
    heads.set_rates([rate * 4 for rate in RATES])
    with pytest.raises(ConfigError, match=r"2 heads are named \w+_0_00000: their learning rates 1.25e-06, 2.5e-06"):
        heads.set_rates([rate / 8 for rate in RATES])
    with pytest.raises(ConfigError, match=r"model.head.lr_mults"):
        ProbeHeads(dict(cls=4), 3, lr_mults=[1e-6, 2e-6]).set_rates([1e-6, 2e-6])


def test_rates_reach_the_optimiser():
    model = probe(head=dict(lr_mults=RATES))
    cfg = dict(optimizer=dict(type="SGD", lr=2.0, momentum=0.9, weight_decay=0))
    wrapper = TrainableOptimWrapperConstructor(cfg)(model)
    rates = {id(value): group["lr"] for group in wrapper.optimizer.param_groups for value in group["params"]}
    assert len(wrapper.optimizer.param_groups) == len(RATES)
    assert len(rates) == 2 * 52
    for head, (_, rate) in zip(model.head.linears, itertools.product(POOLINGS, RATES), strict=True):
        assert rates[id(head.weight)] == rates[id(head.bias)] == 2 * rate


def test_52_heads_equal_52_trainings():
    """Ten steps of all heads at once, and of each head alone on the same features: equal to rounding."""
    model = probe(head=dict(lr_mults=[4 * rate for rate in RATES], init_std=0.01)).train()
    model.head.init_weights()
    alone = copy.deepcopy(model.head)
    start = copy.deepcopy(model.head.state_dict())
    build = TrainableOptimWrapperConstructor(dict(optimizer=dict(type="SGD", lr=1.0, momentum=0.9, weight_decay=0)))
    wrapper, batches = build(model), []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(wrapper.optimizer, 10)
    for _ in range(10):
        images, labels = torch.randn(8, 3, 64, 64), torch.randint(0, CLASSES, (8,))
        batches.append((model.readout.split(model.record(images)), labels))
        wrapper.update_params(model(images, samples(labels), mode="loss")["loss"])
        schedule.step()
    for index, (head, single) in enumerate(zip(model.head.linears, alone.linears, strict=True)):
        optimizer = torch.optim.SGD(single.parameters(), lr=4 * RATES[index % 13], momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        for features, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(single(features[single.pooling]), labels).backward()
            optimizer.step()
            schedule.step()
        torch.testing.assert_close(head.weight, single.weight, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(head.bias, single.bias, rtol=1e-6, atol=1e-7)
        assert not torch.equal(head.weight, start[f"linears.{index}.weight"])


def test_initial_weights():
    drawn, default = (ProbeHeads(dict(cls=400), 50, init_std=std) for std in (0.01, None))
    for heads in (drawn, default):
        heads.init_weights()
    assert drawn.linears[0].weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert not drawn.linears[0].bias.any()
    assert default.linears[0].weight.abs().max().item() == pytest.approx(400**-0.5, rel=0.01)  # PyTorch's, uniform


@pytest.mark.parametrize(("pooling", "dim"), [("cls+mean", 2 * 8), ("last3+mean", 4 * 8)])
def test_a_released_head_loads_into_the_matching_head(tmp_path, pooling, dim):
    """Files of DINOv2's heads hold weight and bias alone."""
    file = tmp_path / "head.pth"
    torch.save(dict(weight=torch.randn(CLASSES, dim), bias=torch.randn(CLASSES)), file)
    head = dict(init_cfg=dict(type="Pretrained", checkpoint=str(file)))
    model = probe(readout=dict(poolings=[pooling]), head=head).eval()
    model.head.init_weights()
    images = torch.randn(2, 3, 64, 64)
    weight, bias = torch.load(file).values()
    torch.testing.assert_close(model(images), F.linear(model.record(images), weight, bias))
    other = "cls" if pooling == "cls+mean" else "last3"
    with pytest.raises(WeightsError, match=rf"(?s)linears.0.weight: file \({CLASSES}, {dim}\), module .*poolings"):
        probe(readout=dict(poolings=[other]), head=head).head.init_weights()
    with pytest.raises(WeightsError, match=r"2 missing in the file: linears\.1\.weight"):
        probe(readout=dict(poolings=[pooling, "cls"]), head=head).head.init_weights()
    with pytest.raises(WeightsError, match=r"linears\.0\.weight"):
        probe(readout=dict(poolings=[pooling]), head=head, classes=CLASSES + 1).head.init_weights()


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (dict(classes=1), "num_classes=1 is not 2 or more"),
        (dict(head=dict(lr_mults=[])), "lr_mults="),
        (dict(head=dict(lr_mults=[0.1, 0.1])), "different positive numbers"),
        (dict(head=dict(lr_mults=[0.0])), "different positive numbers"),
        (dict(norm="layer"), "norm='layer' is unknown"),
        (dict(feature="mean"), "feature='mean' is unknown: use one of cls, "),
        (dict(backbone=dict(type="ClassTokenEncoder", frozen=False)), "remove backbone.frozen=False"),
    ],
)
def test_bad_settings_say_what_is_wrong(cfg, message):
    with pytest.raises(ConfigError, match=message):
        probe(**cfg)


# --- the model -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "backbone",
    [
        dict(type="SAMViT", arch=TINY_ARCH, img_size=64),
        dict(type="SAM2Hiera", arch=TINY_HIERA, img_size=64),
        dict(type="ClassTokenEncoder"),
    ],
    ids=lambda cfg: cfg["type"],
)
def test_only_heads_are_trained(backbone):
    model = probe(backbone, readout=None, head=dict(lr_mults=[0.1, 1.0]), norm="batch").train()
    assert model.norm.training
    assert not any(module.training for module in model.backbone.modules())
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(3, 3, 64, 64), samples([0, 1, 4]), mode="loss")["loss"]
    assert loss.dtype == torch.float32
    loss.backward()
    assert {name for name, value in model.named_parameters() if value.grad is not None} == {
        f"head.linears.{index}.{part}" for index in range(2) for part in ("weight", "bias")
    }


def test_predictions_and_scores_of_all_heads():
    model = probe(head=dict(lr_mults=[1e-3, 1.0])).eval()
    images, labels = torch.randn(4, 3, 64, 64), [0, 3, 1, 4]
    with torch.no_grad():
        logits = model.head(model.readout.split(model.record(images)))
        before = model(images, samples(labels), mode="predict")
        assert all("pred_score" not in sample for sample in before)
        for number, sample in enumerate(before):
            for head, scores in enumerate(logits):
                order = scores[number].argsort(descending=True).tolist()
                assert order[sample.head_ranks[head]] == labels[number]
                own = scores[number].log_softmax(0)[labels[number]]
                torch.testing.assert_close(sample.head_losses[head], -own)
        model.head.choose(5)
        for number, sample in enumerate(model(images, samples(labels), mode="predict")):
            torch.testing.assert_close(sample.pred_score, logits[5][number].softmax(0))
            assert sample.pred_label == logits[5][number].argmax()
            assert sample.head == 5
            torch.testing.assert_close(sample.pred_feature, model.readout.split(model.record(images))["cls"][number])
        torch.testing.assert_close(model(images), logits[5])
        # Without labels, and from records in place of images.
        unlabelled = model(model.record(images), mode="predict")
        torch.testing.assert_close(torch.stack([sample.pred_score for sample in unlabelled]), logits[5].softmax(1))


def test_prediction_without_a_choice_is_an_error():
    model = probe().eval()
    for mode in ("tensor", "predict"):
        with pytest.raises(EmptyStateError, match="no head was chosen yet"):
            model(torch.zeros(1, 3, 64, 64), mode=mode)
    probe(readout=dict(poolings=["cls"])).eval()(torch.zeros(1, 3, 64, 64))  # a single head needs no choice


def test_equal_scores_and_nan_are_no_hits():
    logits = torch.tensor([[0.0, 0, 0, 0], [1, 2, 2, 0], [float("nan"), 1, 2, 3], [3, 2, 1, 0]])
    assert true_class_rank(logits, torch.tensor([2, 2, 3, 0])).tolist() == [2, 1, 3, 0]


def test_batch_norm_of_features():
    model = probe(readout=dict(poolings=["cls+mean"]), norm="batch").train()
    record = 100 * torch.randn(64, 16) + 5
    features = model.features(record)["cls+mean"]
    torch.testing.assert_close(features.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(0, unbiased=False), torch.ones(16))
    assert not list(model.norm.parameters())
    same = nn.BatchNorm1d(16, eps=1e-6, affine=False)
    torch.testing.assert_close(same(record), features)
    assert all(torch.allclose(value, model.norm.state_dict()[name]) for name, value in same.state_dict().items())
    rest = model.features(record[:1])["cls+mean"]  # an epoch may end with one image
    assert model.norm.num_batches_tracked == 1
    torch.testing.assert_close(model.eval().features(record[:1])["cls+mean"], rest)
    with pytest.raises(ConfigError, match="a batch of one image has no batch statistics"):
        probe(norm="batch").train().features(torch.zeros(1, 32))


def test_confident_predictions_do_not_tie():
    """Probabilities of float32 round to 0, so that the order of the classes is that of the logits."""
    model = probe(readout=dict(poolings=["cls"])).eval()
    head = model.head.linears[0]
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([500.0, 0, 1, 2, 3])
    found = model(torch.zeros(1, 8), samples([4]), mode="predict")[0]
    found.set_metainfo(dict(img_path="a.jpg"))
    assert found.pred_score.tolist() == [1, 0, 0, 0, 0]
    metric = TopKAccuracy(topk=(1, 2))
    metric.process(None, [found.to_dict()])
    assert metric.evaluate(1)["top2"] == 100
    assert found.head_ranks.tolist() == [1]


def test_preprocessor():
    model = probe(readout=dict(poolings=["cls"]))
    image = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None].expand(3, 4, 5)  # BGR
    batch = model.data_preprocessor(dict(inputs=[image, image], data_samples=samples([0, 1])))
    rgb = torch.tensor([30.0, 20, 10])
    expected = (rgb - torch.tensor(model.backbone.mean)) / torch.tensor(model.backbone.std)
    torch.testing.assert_close(batch["inputs"], expected[:, None, None].expand(2, 3, 4, 5))
    assert len(batch["data_samples"]) == 2
    records = [torch.ones(8), torch.zeros(8)]
    assert torch.equal(model.data_preprocessor(dict(inputs=records))["inputs"], torch.stack(records))
    with pytest.raises(DataError, match=r"shapes \(3, 4, 5\) and \(3, 5, 5\): end the pipeline with a crop"):
        model.data_preprocessor(dict(inputs=[image, torch.zeros(3, 5, 5)]))
    changed = probe(readout=dict(poolings=["cls"]), data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1]))
    assert changed.data_preprocessor.mean.flatten().tolist() == [0, 0, 0]
    assert changed.data_preprocessor.settings != model.data_preprocessor.settings


@pytest.mark.parametrize(
    ("data", "message"),
    [([], "a batch has no gt_label"), ([BaseDataElement(metainfo=dict(img_path="a.jpg"))], "a.jpg has no gt_label")],
)
def test_missing_labels_are_named(data, message):
    with pytest.raises(DataError, match=message):
        probe()(torch.zeros(len(data) or 1, 3, 64, 64), data, mode="loss")


def test_strict_weights_of_the_encoder(tmp_path):
    """The encoder's file goes to the encoder; heads come from the training."""
    encoder = dict(type="SAMViT", arch=TINY_ARCH, img_size=64)
    checkpoint = save_encoder(tmp_path / "encoder.pth", encoder)
    model = probe(dict(encoder, init_cfg=dict(type="Pretrained", checkpoint=checkpoint)), readout=None)
    model.init_weights()
    assert torch.equal(model.backbone.pos_embed, torch.load(checkpoint)["image_encoder.pos_embed"])
    with pytest.raises(WeightsError, match=r"missing in the file: head\.linears\.0\.weight"):
        load_weights(model, checkpoint)


def test_without_heads_there_are_features_alone():
    """For nearest neighbours: nothing is trained, and all weights are those of the encoder."""
    model = probe(classes=0, readout=dict(poolings=["cls", "mean"])).eval()
    assert model.head is None
    images, labelled = torch.randn(2, 3, 64, 64), samples([0, 1])
    for sample, expected in zip(model(images, labelled, mode="predict"), model.record(images)[:, :8], strict=True):
        torch.testing.assert_close(sample.pred_feature, expected)
        assert "pred_score" not in sample
    assert not [name for name, value in model.named_parameters() if value.requires_grad]
    assert not model.memory_advice({}, 0)
    for mode in ("loss", "tensor"):
        with pytest.raises(ConfigError, match="num_classes=0 builds no heads: set num_classes to train"):
            model(images, labelled, mode=mode)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (dict(classes=0, head=dict(lr_mults=[0.1])), "num_classes=0 builds no heads: remove head"),
        (dict(classes=None), "num_classes=None is counted by a run alone: set model.num_classes, or take"),
    ],
)
def test_numbers_of_classes_that_do_not_fit(cfg, message):
    with pytest.raises(ConfigError, match=message):
        probe(**cfg)
