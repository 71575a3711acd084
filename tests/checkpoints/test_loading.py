"""Weight files: families, sizes, strictness, safety, downloads."""

import hashlib
import json
import os

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from samplug.checkpoints import UnsafeCheckpointError, WeightsError, fetch, load_weights, read_checkpoint
from samplug.checkpoints.families import FAMILIES, describe
from samplug.engine.weights import load_for_evaluation
from samplug.registry import MODELS
from tests.builders import TINY_ARCH, offline_hub, tiny_segmentor, tiny_tssam, tiny_vit
from tests.server import FileServer


def randomised(model):
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.normal_(std=0.1)
    return model


def official_sam(model):
    """A state dict in SAM's official layout, other parts included."""
    state = {f"image_encoder.{key}": value.clone() for key, value in model.state_dict().items()}
    return state | {
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256),
        "mask_decoder.iou_token.weight": torch.zeros(1, 256),
    }


def released_ts_sam(model):
    prefixes = {"backbone": "image_encoder", "adapter": "image_encoder", "decode_head": "mask_decoder"}
    return {
        prefixes[key.split(".")[0]] + key[key.index(".") :]: value.clone() for key, value in model.state_dict().items()
    }


def assert_equal(a, b):
    found = b.state_dict()
    for name, value in a.state_dict().items():
        torch.testing.assert_close(value, found[name], msg=name)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s},
                                  lambda s: {f"module.{k}": v for k, v in s.items()}])  # fmt: skip
def test_sam_file_into_encoder(tmp_path, wrap):
    source, target = randomised(tiny_vit()), tiny_vit()
    torch.save(wrap(official_sam(source)), tmp_path / "sam.pth")
    report = load_weights(target, str(tmp_path / "sam.pth"))
    assert report.fits
    assert set(report.loaded) == set(target.state_dict())
    assert_equal(source, target)


@pytest.mark.parametrize("size", ["b", "l", "h"])
def test_hub_names_are_the_official_ones(test_data, size):
    table = json.loads((test_data / f"parity/keys/sam_vit_{size}.hf.json").read_text())
    official, hub = (
        next(family for family in FAMILIES if family.name == f"SAM ({of})") for of in ("official", "Hugging Face")
    )
    for theirs, ours in table["hub_from_official"].items():
        assert hub.rename(theirs) == official.rename(ours)


def test_sam_file_into_decoder_and_whole(tmp_path):
    """A SAM file is the whole of a segmentor that has nothing but SAM's encoder and decoder."""
    source = randomised(tiny_segmentor())
    state = {
        f"image_encoder.{key[9:]}" if key.startswith("backbone.") else key.removeprefix("decode_head."): value.clone()
        for key, value in source.state_dict().items()
    }
    torch.save(state, tmp_path / "sam.pth")
    for part in (lambda model: model, lambda model: model.backbone, lambda model: model.decode_head):
        target = part(tiny_segmentor())
        assert set(load_weights(target, str(tmp_path / "sam.pth")).loaded) == set(target.state_dict())
        assert_equal(part(source), target)
    own = source.decode_head.state_dict()
    torch.save({key: value.clone() for key, value in own.items()}, tmp_path / "head.pth")
    assert load_weights(tiny_segmentor().decode_head, str(tmp_path / "head.pth")).fits
    with pytest.raises(WeightsError, match=r"missing in the file: backbone\.pos_embed"):
        load_weights(tiny_segmentor(), str(tmp_path / "head.pth"))


def test_ts_sam_file_into_whole_and_parts(tmp_path):
    source, whole = randomised(tiny_tssam()), tiny_tssam()
    torch.save(released_ts_sam(source), tmp_path / "ts_sam.pth")
    load_weights(whole, str(tmp_path / "ts_sam.pth"))
    assert_equal(source, whole)
    for part in ("backbone", "adapter", "decode_head"):
        target = getattr(tiny_tssam(), part)
        load_weights(target, str(tmp_path / "ts_sam.pth"))
        assert_equal(getattr(source, part), target)


def test_own_layout_and_safetensors(tmp_path):
    source, target, encoder = randomised(tiny_tssam()), tiny_tssam(), tiny_vit()
    save_file({key: value.contiguous() for key, value in source.state_dict().items()}, tmp_path / "own.safetensors")
    load_weights(target, str(tmp_path / "own.safetensors"))
    load_weights(encoder, str(tmp_path / "own.safetensors"))
    assert_equal(source, target)
    assert_equal(source.backbone, encoder)


def test_sharded_safetensors(tmp_path):
    source, target = randomised(tiny_vit()), tiny_vit()
    state = official_sam(source)
    names = {name: f"model-{index % 2}.safetensors" for index, name in enumerate(state)}
    for shard in set(names.values()):
        save_file({name: state[name] for name in state if names[name] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    load_weights(target, str(tmp_path / "model.safetensors.index.json"))
    assert_equal(source, target)


def test_position_tables_are_resized(tmp_path):
    source, target = randomised(tiny_vit(img_size=128)), tiny_vit(img_size=64)
    torch.save(official_sam(source), tmp_path / "sam.pth")
    report = load_weights(target, str(tmp_path / "sam.pth"))
    assert set(report.resized) == {"pos_embed", "blocks.1.attn.rel_pos_h", "blocks.1.attn.rel_pos_w"}
    positions = F.interpolate(source.pos_embed.permute(0, 3, 1, 2), (4, 4), mode="bicubic", align_corners=False)
    torch.testing.assert_close(target.pos_embed, positions.permute(0, 2, 3, 1))
    table = source.blocks[1].attn.rel_pos_h.T[None]
    torch.testing.assert_close(target.blocks[1].attn.rel_pos_h, F.interpolate(table, 7, mode="linear")[0].T)
    torch.testing.assert_close(target.blocks[0].attn.rel_pos_h, source.blocks[0].attn.rel_pos_h)


def test_misfit_is_explained_and_changes_nothing(tmp_path):
    target = tiny_vit()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    state = official_sam(randomised(tiny_vit()))
    state["image_encoder.blocks.9.extra"] = torch.zeros(1)
    state["image_encoder.neck.0.weight"] = torch.zeros(7, 48, 1, 1)
    del state["image_encoder.pos_embed"]
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(WeightsError) as error:
        load_weights(target, str(tmp_path / "odd.pth"))
    for part in (
        "odd.pth",
        "SAMViT",
        "1 missing in the file: pos_embed",
        "1 unexpected in the file: blocks.9.extra",
        "neck.0.weight: file (7, 48, 1, 1)",
    ):
        assert part in str(error.value)
    for key, value in before.items():
        torch.testing.assert_close(target.state_dict()[key], value)
    report = load_weights(target, str(tmp_path / "odd.pth"), strict=False)
    assert report.missing == ["pos_embed"]
    assert not report.fits


def test_a_checkpoint_of_another_config_is_told_by_its_parts(tmp_path):
    """And by the run that wrote it."""
    segmentor = dict(type="SAMSegmentor", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=32))
    plain, adapted = (
        MODELS.build(segmentor),
        MODELS.build({**segmentor, "adapter": dict(type="SAMAdapter", reduction=8)}),
    )
    for name, model in (("plain", plain), ("adapted", adapted)):
        torch.save(
            dict(meta=dict(experiment_name=f"{name}_2026"), state_dict=model.state_dict()), tmp_path / f"{name}.pth"
        )
    with pytest.raises(
        WeightsError,
        match=r"fix: the file holds adapter, unlike this SAMSegmentor: .* \(written by the run adapted_2026\)",
    ):
        load_for_evaluation(plain, str(tmp_path / "adapted.pth"))
    with pytest.raises(WeightsError, match=r"fix: the file lacks adapter, unlike this SAMSegmentor: .*plain_2026"):
        load_for_evaluation(adapted, str(tmp_path / "plain.pth"))


def test_messages_name_family_and_size(tmp_path):
    with torch.device("meta"):
        state = {
            f"image_encoder.{key}": value for key, value in tiny_vit(arch="vit_l", img_size=1024).state_dict().items()
        }
    assert describe(state) == "SAM (official) ViT-L for 1024 px"
    assert describe({"cls_token": torch.zeros(1), "blocks.0.ls1.gamma": torch.zeros(1)}) == "DINOv2"
    torch.save(official_sam(tiny_vit()), tmp_path / "sam.pth")
    with pytest.raises(WeightsError, match=r"fix: a SAM file has no adapter"):
        load_weights(tiny_tssam(), str(tmp_path / "sam.pth"))


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_pickled_code_does_not_run(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "payload": _Touch(str(tmp_path / "ran"))}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pth asks to load the Python object posix\.mkdir"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_getattr_reaches_nothing(tmp_path):
    class Walk:
        def __reduce__(self):
            return (getattr, (torch.nn.Module, "load_state_dict"))

    torch.save({"x": Walk()}, tmp_path / "walk.pth")
    with pytest.raises(UnsafeCheckpointError):
        read_checkpoint(tmp_path / "walk.pth")


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "list", "folder", "missing", "bad.safetensors"])
def test_unreadable_files_are_named(tmp_path, damage):
    path = tmp_path / (damage if damage.endswith("safetensors") else f"{damage}.pth")
    if damage == "empty":
        path.touch()
    elif damage == "truncated":
        torch.save(official_sam(tiny_vit()), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif damage in ("text", "bad.safetensors"):
        path.write_text("<html>404</html>")
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(WeightsError, match=damage):
        load_weights(tiny_vit(), str(path))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLUG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def weights_bytes(tmp_path):
    torch.save(official_sam(randomised(tiny_vit())), tmp_path / "w.pth")
    return (tmp_path / "w.pth").read_bytes()


@pytest.mark.usefixtures("cache")
def test_download_resumes_and_is_kept(weights_bytes):
    server = FileServer(weights_bytes, cut_first=40_000)
    digest = hashlib.sha256(weights_bytes).hexdigest()
    path = fetch(f"{server.address}/sam.pth#sha256={digest}")
    assert path.read_bytes() == weights_bytes
    assert server.requests == [None, "bytes=40000-"]
    load_weights(tiny_vit(), f"{server.address}/sam.pth")
    assert len(server.requests) == 2


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["sam.pth#sha256=0123456789", "sam_vit_b_01ec64.pth", "model-deadbeef.pth"])
def test_download_with_another_hash_is_refused(weights_bytes, name):
    server = FileServer(weights_bytes)
    with pytest.raises(WeightsError, match="expected"):
        fetch(f"{server.address}/{name}")


@pytest.mark.usefixtures("cache")
def test_a_date_in_a_name_is_no_hash(weights_bytes):
    server = FileServer(weights_bytes)
    assert fetch(f"{server.address}/model-20240512.pth").read_bytes() == weights_bytes


@pytest.mark.usefixtures("cache")
def test_download_errors_name_the_address(weights_bytes):
    server = FileServer(weights_bytes)
    with pytest.raises(WeightsError, match=r"missing\.pth could not be downloaded: HTTP 404 [^;]*$"):
        fetch(f"{server.address}/missing.pth")
    with pytest.raises(WeightsError, match="expected #sha256"):
        fetch(f"{server.address}/sam.pth#sha1=123456")


def test_hub_cache_offline(tmp_path, monkeypatch):
    source, target = randomised(tiny_vit()), tiny_vit()
    snapshot = offline_hub(tmp_path, monkeypatch, "someone/tiny")
    save_file(official_sam(source), snapshot / "model.safetensors")
    load_weights(target, "hf://someone/tiny")
    assert_equal(source, target)
    load_weights(target, f"hf://someone/tiny/model.safetensors@{snapshot.name}")
    with pytest.raises(WeightsError, match="hf://someone/other"):
        fetch("hf://someone/other")
    with pytest.raises(WeightsError, match="hf://OWNER/REPO"):
        fetch("hf://someone")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!DOCTYPE html><html>Sign in</html>", r"sam\.pth is a web page"),
        ("\n<html><body>404</body></html>", r"sam\.pth is a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of git-lfs"),
    ],
)
def test_what_is_no_checkpoint_at_all(tmp_path, text, message):
    (tmp_path / "sam.pth").write_text(text)
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "sam.pth")
