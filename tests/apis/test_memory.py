"""Estimates of memory and operations agree with runs on real tensors."""

from functools import cache

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.profiler import ProfilerActivity, profile

from samplug.apis import estimate_memory
from samplug.apis.dry_run import LiveBytes, materialised, operations, without_memory
from samplug.apis.memory import states_for_each_byte
from samplug.commands.estimate_memory import published, table, verdict
from samplug.commands.run import main
from samplug.config import load_config
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_ARCH, TINY_HIERA, tiny_segmentor_cfg, tiny_tssam_cfg
from tests.conftest import ROOT
from tests.shrink import shrink
from tests.test_every_config import CONFIGS

SIZE = 128
_CLICKS = dict(type="PromptSimulator", num_correction_points=1, box_prob=0.0, correction_from_truth_prob=0.0)
_SAM = dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=SIZE), train_prompts=_CLICKS)
MODELS_BY_NAME = {
    "tssam": tiny_tssam_cfg(backbone=dict(img_size=SIZE)),
    "lora": tiny_segmentor_cfg(adapter=dict(type="LoRAAdapter", r=2), backbone=dict(img_size=SIZE)),
    "all trained": tiny_segmentor_cfg(backbone=dict(img_size=SIZE, frozen=False)),
    "sam": _SAM,
    "sam, checkpointing": {**_SAM, "with_cp": True},
    "sam 2": dict(
        type="PromptableSAM",
        backbone=dict(type="SAM2Hiera", arch=TINY_HIERA, img_size=SIZE, frozen=False),
        decode_head=dict(type="SAM2MaskDecoder", prompts=True),
        train_prompts=_CLICKS,
    ),
}


def config(model, **kwargs):
    return Config(dict(model=model, default_scope="samplug", **kwargs))


@cache
def estimate(name, batch_size=1, amp=False, objects=1):
    return estimate_memory(config(MODELS_BY_NAME[name]), batch_size=batch_size, amp=amp, objects=objects)


class RealStep:
    """A training step on real tensors: tensors saved by autograd, and memory allocated on the CPU."""

    def __init__(self, cfg, batch_size, amp):
        from mmengine.structures import InstanceData, PixelData
        from mmseg.structures import SegDataSample

        model = MODELS.build(cfg).train()
        self.inputs = 0
        self.saved = {}
        own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

        def data():
            samples = []
            for _ in range(batch_size):
                mask = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
                mask[:, 30:90, 20:70] = 1
                samples.append(SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE))))
                if hasattr(model, "train_prompts"):
                    samples[-1].gt_instances = InstanceData(masks=mask.bool())
                else:
                    samples[-1].gt_sem_seg = PixelData(data=mask)
            return torch.zeros(batch_size, 3, SIZE, SIZE), samples

        def loss(images, samples):
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                return model.parse_losses(model.loss(images, samples))[0]

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                self.saved[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        images, samples = data()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value = loss(images, samples)
        self.kept = sum(size for size, _ in self.saved.values())
        self.saved.clear()
        del value, images, samples
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            images, samples = data()
            loss(images, samples).backward()
        now = self.peak = 0
        for event in recorded.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                self.peak = max(self.peak, now)
        masks = samples[0].gt_instances.masks if hasattr(model, "train_prompts") else samples[0].gt_sem_seg.data
        self.inputs = images.nbytes + batch_size * masks.nbytes


@pytest.mark.parametrize(
    ("name", "amp"),
    [
        ("tssam", False),
        ("tssam", True),
        ("all trained", False),
        ("sam", False),
        ("sam, checkpointing", False),
        ("sam 2", True),
    ],
)
def test_a_step_takes_what_was_estimated(name, amp):
    """The tolerance covers CPU kernels with another memory layout of results, which needs or saves a copy."""
    model = MODELS_BY_NAME[name]
    found, real = estimate(name, amp=amp), RealStep(model, 1, amp)
    peak = found.train_peak - found.optimiser - found.weights
    if found.train_peak > found.weights + 2 * found.gradients + found.optimiser:  # not that of the update
        assert peak == pytest.approx(real.peak, rel=0.08)
    if name == "sam, checkpointing":  # autograd keeps little, and the inputs of each step are arguments
        assert found.activations < 0.1 * found.train_peak
    else:
        assert found.activations == pytest.approx(real.kept + real.inputs, rel=0.08)


def test_fixed_parts():
    model = MODELS.build(MODELS_BY_NAME["lora"])
    numbers = [parameter.numel() for parameter in model.parameters()]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    found = estimate_memory(config(MODELS_BY_NAME["lora"], optim_wrapper=dict(optimizer=dict(type="AdamW"))))
    assert (found.parameters, found.trained) == (sum(numbers), trained)
    assert (found.gradients, found.optimiser) == (4 * trained, 2 * 4 * trained)
    assert found.weights == 4 * sum(numbers) + sum(buffer.nbytes for buffer in model.buffers())


@pytest.mark.parametrize(
    ("optimizer", "states"),
    [(None, 2), (dict(type="AdamW"), 2), (dict(type="SGD", lr=0.1), 0), (dict(type="SGD", lr=0.1, momentum=0.9), 1)],
)
def test_states_of_optimisers(optimizer, states):
    assert states_for_each_byte(optimizer) == states


def test_images_add_up():
    """Each image adds the same memory to a batch; gradients of earlier steps count too."""
    two, four = (estimate("tssam", batch_size=size) for size in (2, 4))
    assert four.train_peak == pytest.approx(two.train_peak + 2 * two.train_image, rel=0.02)
    assert two.largest_batch(four.train_peak * 1.001) in (3, 4)
    assert two.largest_batch(two.weights) == 0
    assert two.train_flops == four.train_flops > two.test_flops
    accumulated = config(MODELS_BY_NAME["tssam"], optim_wrapper=dict(accumulative_counts=4))
    assert estimate_memory(accumulated, batch_size=2).train_peak >= two.train_peak


def test_objects_add_up():
    one, two = estimate("sam"), estimate("sam", objects=2)
    assert two.activations == pytest.approx(2 * one.activations, rel=0.1)


def test_views_count_once_and_weights_do_not():
    model = nn.Linear(8, 8)
    live = LiveBytes()
    for parameter in model.parameters():
        live.add(parameter)
    start = live.now
    assert start == 4 * (64 + 8)
    with live:
        x = torch.zeros(5, 8)
        views = [x[1:], x.t(), x.view(-1), model.weight.t(), model.weight.detach()]
        assert live.now - start == x.nbytes
        y = model(x)
        assert live.now - start == x.nbytes + y.nbytes
        del x, y
        assert live.now - start == 5 * 8 * 4
        del views
        assert live.now == start
    assert live.peak == start + 2 * 5 * 8 * 4


def test_operations_of_known_layers():
    with without_memory(), operations() as found:
        model = materialised(nn.Linear(16, 32))
        model(torch.zeros(10, 16, requires_grad=True)).sum().backward()
    assert found.get_total_flops() == 3 * 2 * 10 * 16 * 32
    with without_memory(), operations() as found:
        q, k, v = (torch.zeros(2, 3, 50, 16, requires_grad=True) for _ in range(3))
        nn.functional.scaled_dot_product_attention(q, k, v)
    assert found.get_total_flops() == 2 * 2 * (2 * 3 * 50 * 50 * 16)


@pytest.fixture(scope="module")
def estimated():
    return set()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config(name, tmp_path, estimated):
    """Estimate each config at a small size, without weights and data; equal models run once."""
    cfg = load_config(ROOT / name)
    cached = cfg.model.backbone.type == "CachedEncoder"
    if cached:  # shrinking would write the weights that this command does not need
        cfg.model.backbone.encoder.update(arch=TINY_ARCH, img_size=32)
    else:
        cfg = shrink(cfg, tmp_path / "work", tmp_path)
    if "train_prompts" in cfg.model:
        cfg.model.train_prompts.num_correction_points = 1
    parts = {key: value for key, value in cfg.model.items() if isinstance(value, dict) and "prompts" not in key}
    same = str([cfg.model.type, *((part.get("type"), part.get("frozen")) for part in parts.values())])
    if same in estimated:
        return
    if cfg.model.get("num_classes") == 0:  # nearest neighbours
        with pytest.raises(ConfigError, match="nothing would be trained"):
            estimate_memory(cfg, batch_size=1)
        return
    estimated.add(same)
    found = estimate_memory(cfg, batch_size=1)
    assert 0 < found.activations < found.train_peak < 2**30
    assert found.train_flops >= found.test_flops > 0  # equal for one head: its input needs no gradient


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batch_size=0), "batch_size=0 and objects=1 must be at least 1"),
        (dict(objects=0), "objects=0 must be at least 1"),
        (dict(config=config(dict(_SAM, frozen=["decode_head"]))), "every parameter of PromptableSAM is frozen"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ConfigError, match=message):
        estimate_memory(**{"config": config(_SAM), **change})


def test_a_model_that_needs_values():
    @MODELS.register_module(name="NeedsValues", force=True)
    class NeedsValues(MODELS.get("PromptableSAM")):
        def loss(self, inputs, data_samples):
            return dict(loss=torch.unique(inputs).sum())

    try:
        with pytest.raises(ConfigError, match=r"memory: NeedsValues cannot run on tensors without values: .*unique"):
            estimate_memory(config(dict(_SAM, type="NeedsValues")))
    finally:
        MODELS.module_dict.pop("NeedsValues")


def test_command(capsys):
    name = "configs/quickstart.py"
    assert main("estimate-memory", [name, "--batch-size", "2", "--amp", "--cfg-options", "img_size=32"]) == 0
    text = capsys.readouterr().out
    assert "input 32x32, batch size 2, bfloat16" in text
    for part in ("weights", "gradients", "optimiser", "activations", "peak of training", "TFLOP", "16 GB card: yes"):
        assert part in text
    with pytest.raises(SystemExit):
        main("estimate-memory", [])


def test_probes():
    """All heads are trained; the number of classes is 1,000 where the data tell it."""
    config = ROOT / "configs/linear_probe/probe_dinov2-vits14_folders.py"
    tiny = {"arch": dict(embed_dims=48, depth=2, num_heads=3), "_delete_": True, "type": "DINOv2ViT", "img_size": 56}
    found = estimate_memory(config, batch_size=2, cfg_options={"model.backbone": tiny})
    inputs = 48 + 48 + 96  # poolings mean, cls, cls+mean
    assert found.trained == 13 * 1000 * (inputs + 3)
    assert found.optimiser == found.gradients == 4 * found.trained
    assert found.train_peak >= found.weights + 2 * found.gradients + found.optimiser
    assert (found.test_batch_size, found.objects) == (256, 1)


def test_verdicts():
    found = estimate("all trained")
    size = found.train_peak / 2**30

    def asked(card):
        return verdict(found, card)

    assert asked(size * 0.9).startswith("no")
    assert asked(size * 1.05).startswith("tight")
    assert asked(size * 1.2 + 1.2).startswith("yes, to ")


def test_the_table_of_the_documentation():
    """The table names every published config; its first row matches the command's output."""
    page = (ROOT / "docs/memory.md").read_text()
    for name in published():
        assert f"`{name}`" in page, name
    (first,) = list(table(["ts-sam_sam-vit-b_1xb2-20e_cod-1024"]))[2:]
    assert any(line.split("|")[2:] == first.split("|")[2:] for line in page.splitlines()), first
