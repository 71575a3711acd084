"""Maps of a frozen encoder, kept on disk."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from samplug.checkpoints import WeightsError, digest
from samplug.datasets.seeding import SeededDataset
from samplug.engine.hooks import OMITTED_KEY, FeatureReaderHook
from samplug.engine.weights import load_for_evaluation
from samplug.features import FeatureReader
from samplug.models.backbones import CachedEncoder
from samplug.registry import MODELS
from samplug.utils.errors import ConfigError
from tests.builders import TINY_ARCH, TINY_HIERA, save_encoder
from tests.models.test_promptable import CENTRES, SIZE, sample

KINDS = {
    "sam": dict(type="SAMViT", arch=TINY_ARCH),
    "sam2": dict(type="SAM2Hiera", arch=TINY_HIERA),
}
HEADS = {"sam": "SAMMaskDecoder", "sam2": "SAM2MaskDecoder"}


@pytest.fixture
def weights(tmp_path):
    def write(kind="sam", seed=0):
        return save_encoder(tmp_path / f"{kind}{seed}.pth", {**KINDS[kind], "img_size": SIZE}, seed)

    return write


def encoder_cfg(checkpoint, kind="sam"):
    return {**KINDS[kind], "img_size": SIZE, "init_cfg": dict(type="Pretrained", checkpoint=checkpoint)}


def cached(tmp_path, checkpoint, kind="sam", **kwargs):
    return dict(type="CachedEncoder", encoder=encoder_cfg(checkpoint, kind), cache_dir=str(tmp_path / "maps"), **kwargs)


def build(backbone, kind="sam"):
    head = dict(type=HEADS[kind], prompts=True)
    model = MODELS.build(
        dict(type="PromptableSAM", backbone=backbone, train_prompts=CENTRES, test_prompts=CENTRES, decode_head=head)
    )
    torch.manual_seed(5)  # the same decoder, whatever the encoder drew
    model.decode_head.load_state_dict(MODELS.build(head).state_dict())
    model.backbone.init_weights()
    return model


def batch(seeds=(0, 1)):
    """As the loader makes it."""
    images = [torch.randint(0, 256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(s)).byte() for s in seeds]
    return dict(inputs=images, data_samples=[sample(s) for s in seeds])


def losses(model, seeds=(0, 1)):
    data = model.data_preprocessor(batch(seeds), True)
    return model.loss(**data)


def files(tmp_path):
    return sorted(path for path in (tmp_path / "maps").rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_losses_are_those_without_a_cache(tmp_path, weights, kind, dtype):
    path = weights(kind)
    expected = losses(build({**encoder_cfg(path, kind), "frozen": True}, kind))
    model = build(cached(tmp_path, path, kind, dtype=dtype), kind)
    first, second = losses(model), losses(model)
    for name, value in first.items():
        assert torch.equal(value, second[name])  # rounded in the first epoch, too
        if dtype == "float32":
            assert torch.equal(value, expected[name])
        torch.testing.assert_close(value, expected[name], rtol=2e-2, atol=1e-3)
    assert (model.backbone.computed, model.backbone.read) == (2, 2)


def test_encoders_of_one_file(tmp_path, weights):
    """Each has maps of its own."""
    both = {}
    for seed, prefix in enumerate(("teacher", "student")):
        state = torch.load(weights(seed=seed))
        both |= {key.replace("image_encoder", prefix): value for key, value in state.items()}
    torch.save(both, tmp_path / "both.pth")
    image, keyed = torch.ones(1, 3, SIZE, SIZE), sample()
    keyed.set_metainfo(dict(pixels="ab" * 32))
    for seed, prefix in enumerate(("teacher", "student")):
        config = encoder_cfg(str(tmp_path / "both.pth"))
        config["init_cfg"]["prefix"] = prefix
        found = MODELS.build({**cached(tmp_path, "", dtype="float32"), "encoder": config})
        expected = MODELS.build(cached(tmp_path, weights(seed=seed)))
        assert torch.equal(found.stored_or_computed(image, [keyed])[0], expected(image)[0])


def test_a_later_run_has_no_encoder(tmp_path, weights):
    path = weights()
    losses(build(cached(tmp_path, path)))
    later = build(cached(tmp_path, path))
    losses(later)
    later.eval().predict(**later.data_preprocessor(batch(), False))
    assert not later.backbone._loaded
    assert not list(later.backbone.parameters())
    assert {name.split(".")[0] for name in later.state_dict()} == {"decode_head"}
    sum(losses(later).values()).backward()


def test_the_encoder_goes_where_the_images_are(tmp_path, weights):
    encoder = MODELS.build(cached(tmp_path, weights()))
    image = torch.zeros(1, 3, SIZE, SIZE)
    for device in ("cpu", "meta"):  # of another device there is none everywhere
        assert encoder(image.to(device))[0].device.type == device


def test_the_encoder_leaves_the_memory(tmp_path, weights, monkeypatch):
    monkeypatch.setattr("samplug.models.backbones.cached._RELEASE_AFTER", 4)
    model = build(cached(tmp_path, weights()))
    held = []
    for _ in range(3):
        losses(model)
        held.append(bool(model.backbone._loaded))
    assert held == [True, True, False]
    losses(model, (0, 7))  # a new image: it comes back
    assert model.backbone._loaded


def test_entries_are_of_weights_and_pixels(tmp_path, weights):
    """Nothing stale is ever read: another image, another transform and other weights are other entries."""
    model = build(cached(tmp_path, weights()))
    losses(model)
    assert len(files(tmp_path)) == 2
    data = batch()
    data["inputs"][0] = data["inputs"][0].flip(-1)
    data["inputs"][1][0, 0, 0] ^= 1
    model.loss(**model.data_preprocessor(data, True))
    assert len(files(tmp_path)) == 4
    other = build(cached(tmp_path, weights(seed=1)))
    assert other.backbone.store.folder != model.backbone.store.folder
    losses(other)
    assert other.backbone.computed == 2
    assert build(cached(tmp_path, weights(), dtype="float32")).backbone.store.folder != model.backbone.store.folder


def test_entries_are_of_the_normalisation(tmp_path, weights):
    """The encoder sees other images after it."""
    losses(build(cached(tmp_path, weights())))
    model = build(cached(tmp_path, weights()))
    settings = dict(type="LetterboxPreProcessor", size=(SIZE, SIZE), mean=[0.0] * 3, std=[255.0] * 3, digest=True)
    model.data_preprocessor = MODELS.build(settings)
    losses(model)
    assert model.backbone.computed == 2


def test_entries_are_of_no_precision(tmp_path, weights):
    """What a run in mixed precision keeps is what others would have computed."""
    model = build(cached(tmp_path, weights(), dtype="float32"))
    data = model.data_preprocessor(batch(), True)
    with torch.autocast("cpu", torch.bfloat16):
        (kept,) = model.encode(data["inputs"], data["data_samples"])
    (anew,) = model.encode(data["inputs"])
    assert torch.equal(kept, anew)


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:100], lambda content: content[:-1] + bytes([content[-1] ^ 1])],
    ids=["cut", "bit"],
)
def test_a_killed_writer_and_a_damaged_file(tmp_path, weights, damage):
    path = weights()
    expected = losses(build(cached(tmp_path, path)))
    broken, other = files(tmp_path)
    broken.write_bytes(damage(broken.read_bytes()))
    other.rename(other.with_name(f".{other.name}.123"))  # killed before the rename
    model = build(cached(tmp_path, path))
    found = losses(model)
    assert model.backbone.computed == 2
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    again = build(cached(tmp_path, path))
    losses(again)
    assert again.backbone.computed == 0


def test_entries_without_a_checksum_are_read(tmp_path, weights):
    """They were written before there were checksums."""
    path = weights()
    losses(build(cached(tmp_path, path)))
    for file in files(tmp_path):
        save_file(load_file(file), file)
    model = build(cached(tmp_path, path))
    losses(model)
    assert model.backbone.computed == 0


def test_a_full_disk_costs_time_only(tmp_path, weights, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    path = weights()
    monkeypatch.setattr("samplug.features.store.save_file", full)
    model = build(cached(tmp_path, path))
    first = losses(model)
    assert all(torch.equal(value, first[name]) for name, value in losses(model).items())
    assert files(tmp_path) == []


def test_random_augmentations_stop_at_the_limit(tmp_path, weights):
    model = build(cached(tmp_path, weights(), limit_gb=1e-5))
    with pytest.raises(ConfigError, match="leave random augmentations other than flips out"):
        losses(model)


def test_mistakes(tmp_path, weights):
    path = weights()
    with pytest.raises(ConfigError, match="the encoder has no pretrained weights"):
        MODELS.build(dict(type="CachedEncoder", encoder=dict(type="SAMViT", arch=TINY_ARCH), cache_dir="x"))
    with pytest.raises(ConfigError, match="maps on disk cannot be trained"):
        MODELS.build(cached(tmp_path, path, frozen=False))
    with pytest.raises(ConfigError, match="dtype='int8'"):
        MODELS.build(cached(tmp_path, path, dtype="int8"))
    model = build(cached(tmp_path, path))
    model.data_preprocessor.digest = False
    with pytest.raises(ConfigError, match="set digest=True"):
        losses(model)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(type="TSSAM"), "TSSAMSideNetwork reads the tokens .* CachedEncoder does not offer: its maps are read"),
        (dict(type="SAMSegmentor", adapter=dict(type="SAMAdapter")), "SAMAdapter reads the tokens"),
        (
            dict(type="SAMSegmentor", adapter=dict(type="LoRAAdapter")),
            "not linear layers of CachedEncoder; it has none",
        ),
    ],
)
def test_adapters_that_do_more_than_read_maps_are_refused(tmp_path, weights, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(backbone=cached(tmp_path, weights()), **kwargs))


@pytest.mark.parametrize("kind", KINDS)
def test_segmentors_read_maps_too(tmp_path, weights, kind):
    path = weights(kind)

    def segmentor(backbone):
        torch.manual_seed(0)
        model = MODELS.build(dict(type="SAMSegmentor", backbone=backbone, decode_head=dict(type=HEADS[kind])))
        torch.manual_seed(5)
        model.decode_head.load_state_dict(MODELS.build(dict(type=HEADS[kind])).state_dict())
        model.backbone.init_weights()
        return model

    model = segmentor(cached(tmp_path, path, kind, dtype="float32"))
    expected = losses(segmentor(encoder_cfg(path, kind)))
    first, second = losses(model), losses(model)
    assert (model.backbone.computed, model.backbone.read) == (2, 2)
    for name, value in expected.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value)  # the segmentor's own encoder computes in channels-last


class Loaded:
    """A dataset of the images of :func:`batch`."""

    def __init__(self, seeds):
        self.seeds = seeds

    def __getitem__(self, index):
        data = batch(self.seeds[index : index + 1])
        return {key: values[0] for key, values in data.items()}

    def __len__(self):
        return len(self.seeds)


def collate(items):
    return {key: [item[key] for item in items] for key in items[0]}


@pytest.mark.parametrize("workers", [0, 2])
def test_maps_are_read_where_samples_are_made(tmp_path, weights, monkeypatch, workers):
    """By the dataset, in its processes: the training process neither hashes nor reads. The same bits."""
    path = weights()
    model = build(cached(tmp_path, path))
    expected = losses(model, (0, 1))
    loader = DataLoader(SeededDataset(Loaded([0, 1, 7]), 0), 3, num_workers=workers, collate_fn=collate)
    runner = SimpleNamespace(bare_model=model, train_loop=SimpleNamespace(dataloader=loader))
    FeatureReaderHook().before_train(runner)
    (data,) = loader
    found = ["encoder_maps" in one for one in data["data_samples"]]
    assert found == [True, True, False]

    def forbidden(*args):
        raise AssertionError("in the training process")

    for index, one in enumerate(data["data_samples"]):
        one.set_metainfo(dict(sample_seed=(0, 0, index)))  # as in ``batch``
    monkeypatch.setattr("samplug.models.data_preprocessor.pixel_key", forbidden)
    known = {key: values[:2] for key, values in data.items()}
    with monkeypatch.context() as patch:
        patch.setattr(model.backbone.store, "read", forbidden)
        prepared = model.data_preprocessor(known, True)
        again = model.loss(**prepared)
    assert all(torch.equal(again[name], value) for name, value in expected.items())
    assert not any("encoder_maps" in one for one in prepared["data_samples"])  # nothing holds them after the step
    assert (model.backbone.computed, model.backbone.read) == (2, 2)
    model.loss(**model.data_preprocessor({key: values[2:] for key, values in data.items()}, True))
    assert model.backbone.computed == 3  # computed and written
    assert len(files(tmp_path)) == 3


def test_readers_go_to_other_processes(tmp_path, weights):
    model = build(cached(tmp_path, weights()))
    losses(model, (0,))
    reader = pickle.loads(pickle.dumps(FeatureReader(model.backbone.store, model.data_preprocessor.settings)))
    item = Loaded([0])[0]
    reader(item)
    expected = model.backbone.store.read(item["data_samples"].pixels)
    assert torch.equal(item["data_samples"].encoder_maps.level0, expected[0])
    reader(dict(inputs=item["inputs"]))  # of a dataset without samples: left as it is


def test_models_without_maps_on_disk_have_no_reader(weights):
    dataset = SeededDataset(Loaded([0]), 0)
    runner = SimpleNamespace(
        bare_model=build(encoder_cfg(weights())),
        test_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)),
    )
    FeatureReaderHook().before_test(runner)
    assert "pixels" not in dataset[0]["data_samples"]


def test_new_images_are_encoded_without_a_cache(tmp_path, weights):
    """What the Predictor is shown is nobody's training image."""
    path = weights()
    model = build(cached(tmp_path, path))
    assert isinstance(model.backbone, CachedEncoder)
    images = torch.randn(1, 3, SIZE, SIZE)
    (maps,) = model.encode(images)
    plain = build({**encoder_cfg(path), "frozen": True})
    assert torch.equal(maps, plain.encode(images)[0])
    assert not (tmp_path / "maps").exists()


def plain_model(path):
    """Without a cache; its decoder is not that of the start."""
    model = build({**encoder_cfg(path), "frozen": True})
    torch.nn.init.normal_(next(model.decode_head.parameters()))
    return model


@pytest.mark.parametrize("omitted", [False, True], ids=["whole", "without the encoder"])
def test_takes_a_checkpoint_that_was_trained_without_a_cache(tmp_path, weights, omitted):
    """Its encoder must be the one whose maps are kept."""
    path = weights()
    plain = plain_model(path)
    state, meta = plain.state_dict(), {}
    if omitted:
        names = [name for name in state if name.startswith("backbone.")]
        meta = {OMITTED_KEY: dict(names=names, sha256=digest(state, names))}
        state = {name: value for name, value in state.items() if name not in names}
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "plain.pth")
    model = build(cached(tmp_path, path, dtype="float32"))
    before = losses(model)
    load_for_evaluation(model, str(tmp_path / "plain.pth"))
    after, expected = losses(model), losses(plain)
    assert all(torch.equal(after[name], expected[name]) for name in expected)
    assert any(not torch.equal(after[name], before[name]) for name in expected)
    other = build(cached(tmp_path, weights(seed=7)))
    with pytest.raises(WeightsError, match=r"another (frozen )?encoder than"):
        load_for_evaluation(other, str(tmp_path / "plain.pth"))
