"""Exported weights: read by transformers and by samplug itself, equal bit for bit; LoRA merged; nothing half written."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors import SafetensorError

from samplug.apis.model import init_model
from samplug.checkpoints import WeightsError, load_weights, read_checkpoint
from samplug.commands.published_weights import export_weights
from samplug.commands.run import main
from samplug.models import Prompts
from samplug.models.input_geometry import InputGeometry
from samplug.utils.errors import ConfigError, UserError
from tests.builders import TINY_ARCH, TINY_HIERA, save_encoder, tiny_segmentor_cfg, tiny_tssam_cfg
from tests.checkpoints.test_loading import randomised
from tests.checkpoints.test_sam2_files import VIDEO

SAM = dict(type="PromptableSAM", backbone=dict(type="SAMViT", arch=TINY_ARCH, img_size=64))
SAM2 = dict(
    type="PromptableSAM",
    backbone=dict(type="SAM2Hiera", arch=TINY_HIERA, img_size=64),
    decode_head=dict(type="SAM2MaskDecoder", prompts=True),
    geometry="squash",
)
MODELS = pytest.mark.parametrize("cfg", [SAM, SAM2], ids=["sam", "sam2"])


@pytest.fixture
def trained(tmp_path):
    """Config -> the config for export_weights, a checkpoint of random weights, and the model that has them."""

    def make(cfg):
        config = Config(dict(model=cfg))
        model = randomised(init_model(config, "untrained", "cpu"))
        torch.save({"state_dict": model.state_dict()}, tmp_path / "trained.pth")
        return config, tmp_path / "trained.pth", model

    return make


def assert_same(source, target):
    ours, theirs = source.state_dict(), target.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def file_of(out):
    return out / "model.safetensors" if out.is_dir() else out


@MODELS
@pytest.mark.parametrize("layout", ["official", "hf"])
def test_round_trip(trained, tmp_path, cfg, layout):
    config, checkpoint, model = trained(cfg)
    exported = export_weights(config, checkpoint, tmp_path / "exports" / "out.pth", layout)
    target = init_model(config, "untrained", "cpu")
    report = load_weights(target, str(file_of(exported.path)))
    assert report.fits
    assert set(report.loaded) == set(model.state_dict())
    assert exported.entries == len(report.loaded)
    assert_same(model, target)
    assert not list((tmp_path / "exports").rglob(".*"))
    (tmp_path / "usual").touch()
    files = [exported.path] if layout == "official" else list(exported.path.iterdir())
    assert {path.stat().st_mode for path in files} == {(tmp_path / "usual").stat().st_mode}


def original_sam(reference):
    sizes = reference["config"]
    names = dict(
        embed_dims="embed_dim", depth="depth", num_heads="num_heads", window_size="window_size", patch_size="patch_size"
    )
    arch = {ours: sizes[theirs] for ours, theirs in names.items()} | dict(
        global_attn_indexes=sizes["global_attn_indexes"]
    )
    return dict(SAM, backbone=dict(type="SAMViT", arch=arch, img_size=sizes["image_size"])), reference["state_dict"]


def original_sam2(reference):
    sizes = reference["config"]
    names = dict(embed_dims="e", num_heads="heads", stages="stages", global_attn_blocks="glob",
                 window_pos_embed_bkg_spatial_size="bkg", window_spec="win")  # fmt: skip
    arch = {ours: sizes[theirs] for ours, theirs in names.items()}
    video = {key: torch.randn(shape) for key, shape in VIDEO.items()}
    return dict(SAM2, backbone=dict(type="SAM2Hiera", arch=arch, img_size=sizes["S"])), reference["model"] | video


@pytest.mark.parametrize(("name", "read"), [("sam_tiny.pt", original_sam), ("sam2_tiny.pt", original_sam2)])
def test_original_files_come_out_as_they_went_in(parity, tmp_path, name, read):
    """State dicts of the original implementations, in and out: the same keys, tensors and, of SAM 2, video entries."""
    cfg, original = read(parity(name))
    original = {key: value.clone() for key, value in original.items()}  # the reference file shares storage
    wrapped = {"model": original} if "sam2" in name else original
    torch.save(wrapped, tmp_path / "in.pt")
    video = str(tmp_path / "in.pt") if "sam2" in name else None
    done = export_weights(Config(dict(model=cfg)), tmp_path / "in.pt", tmp_path / "out.pt", video_weights=video)
    out = read_checkpoint(tmp_path / "out.pt")
    assert list(out) == (["model"] if "sam2" in name else list(out))
    out = out["model"] if "sam2" in name else out
    assert set(out) == set(original)
    assert done.entries == len(original)
    for key, value in original.items():
        assert torch.equal(out[key], value), key


def hub_model(cfg, folder):
    from transformers import Sam2Model, SamModel

    kind = SamModel if cfg["backbone"]["type"] == "SAMViT" else Sam2Model
    found, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return found.eval()


def epsilons(model):
    return sorted(module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm))


@MODELS
@pytest.mark.parametrize("multimask", [True, False])
def test_transformers_answers_are_ours(trained, tmp_path, cfg, multimask):
    config, checkpoint, model = trained(cfg)
    export_weights(config, checkpoint, tmp_path / "hub", "hf")
    hub = hub_model(cfg, tmp_path / "hub")
    images = torch.randn(1, 3, 64, 64)
    points, labels = torch.tensor([[[10.0, 20.0], [50.0, 5.0]]]), torch.tensor([[1, 0]])
    with torch.no_grad():
        ours = model.decode(model.encode(images), Prompts(points=points, labels=labels), multimask)
        theirs = hub(images, input_points=points[None], input_labels=labels[None], multimask_output=multimask)
    assert ours.logits.std() > 0.01
    assert epsilons(hub) == epsilons(model)  # their effect is below what is compared here
    torch.testing.assert_close(theirs.pred_masks[0], ours.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(theirs.iou_scores[0], ours.iou, atol=1e-4, rtol=1e-4)


def test_windows_everywhere_are_kept(trained, tmp_path):
    """Of a SAM encoder without global attention, and with another patch size and width of its MLPs."""
    arch = TINY_ARCH | dict(global_attn_indexes=[], mlp_ratio=2, window_size=4)
    config, checkpoint, model = trained(dict(SAM, backbone=dict(type="SAMViT", arch=arch, img_size=64)))
    export_weights(config, checkpoint, tmp_path / "hub", "hf")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        theirs = hub_model(SAM, tmp_path / "hub").get_image_embeddings(images)
        torch.testing.assert_close(theirs, model.backbone(images)[0], atol=1e-5, rtol=1e-4)


def test_images_are_prepared_as_ours(trained, tmp_path):
    from transformers import SamImageProcessorPil

    config, checkpoint, model = trained(SAM)
    export_weights(config, checkpoint, tmp_path / "hub", "hf")
    image = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    theirs = SamImageProcessorPil.from_pretrained(tmp_path / "hub")(Image.fromarray(image), return_tensors="pt")
    ours = model.normalise(InputGeometry(64, (40, 80), "letterbox").fit(image))
    torch.testing.assert_close(theirs["pixel_values"], ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", [SAM["backbone"], SAM2["backbone"]], ids=["sam", "sam2"])
def test_lora_is_merged(trained, tmp_path, backbone):
    head = dict(type="SAMMaskDecoder" if backbone is SAM["backbone"] else "SAM2MaskDecoder")
    cfg = dict(type="SAMSegmentor", backbone=backbone, decode_head=head)
    adapted = cfg | dict(adapter=dict(type="LoRAAdapter", r=2, alpha=6, target_modules=["qkv", "attn.proj"]))
    config, checkpoint, model = trained(adapted)
    export_weights(config, checkpoint, tmp_path / "merged.pth")
    plain = init_model(Config(dict(model=cfg)), tmp_path / "merged.pth", "cpu")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        merged, expected = plain(images), model(images)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)
    changed = [name for name, value in plain.state_dict().items() if not torch.equal(value, model.state_dict()[name])]
    assert changed
    assert all(name.endswith(("qkv.weight", "proj.weight")) for name in changed)


def test_the_encoder_of_maps_on_disk_is_exported_too(tmp_path):
    weights = save_encoder(tmp_path / "encoder.pth", SAM["backbone"])
    encoder = dict(**SAM["backbone"], init_cfg=dict(type="Pretrained", checkpoint=weights))
    cached = dict(type="CachedEncoder", encoder=encoder, cache_dir=str(tmp_path / "maps"))
    config = Config(dict(model=dict(SAM, backbone=cached)))
    model = init_model(config, "untrained", "cpu")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "trained.pth")
    assert not any(name.startswith("backbone.") for name in model.state_dict())
    export_weights(config, tmp_path / "trained.pth", tmp_path / "whole.pth")
    whole = init_model(Config(dict(model=SAM)), tmp_path / "whole.pth", "cpu").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(whole[name], value), name
    for name, value in torch.load(weights, weights_only=True).items():
        assert torch.equal(whole[name.replace("image_encoder", "backbone")], value), name


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (tiny_tssam_cfg(), "TSSAMSideNetwork cannot be expressed"),
        (tiny_segmentor_cfg(adapter=dict(type="SAMAdapter", reduction=8)), "SAMAdapter cannot be expressed"),
        (tiny_segmentor_cfg(decode_head=dict(type="FeatureFusionDecoder")), "consists of SAMViT and FeatureFusionDecoder"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["official", "hf"])
def test_what_no_layout_holds(tmp_path, cfg, message, layout):
    with pytest.raises(ConfigError, match=message):
        export_weights(Config(dict(model=cfg)), "untrained", tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_unknown_layout(tmp_path):
    with pytest.raises(ConfigError, match="layout='huggingface' is unknown: use one of official, hf"):
        export_weights("none.py", None, tmp_path / "out", "huggingface")


def test_entries_without_a_place_are_named(trained, tmp_path, monkeypatch):
    config, checkpoint, model = trained(SAM)
    model.scale = torch.nn.Parameter(torch.ones(1))
    monkeypatch.setattr("samplug.commands.published_weights.init_model", lambda *args: model)
    with pytest.raises(WeightsError, match=r"no place for 1 entries of the model \(scale\)"):
        export_weights(config, checkpoint, tmp_path / "out.pth")


def test_video_entries_belong_to_sam2s_own_layout(trained, tmp_path):
    config, checkpoint, _ = trained(SAM2)
    done = export_weights(config, checkpoint, tmp_path / "plain.pt")
    assert "name an original file as --video-weights" in done.notes[0]
    with pytest.raises(WeightsError, match=r"plain\.pt holds no video entries"):
        export_weights(config, checkpoint, tmp_path / "out.pt", video_weights=str(tmp_path / "plain.pt"))
    with pytest.raises(ConfigError, match="leave --video-weights out"):
        export_weights(config, checkpoint, tmp_path / "hub", "hf", video_weights=str(tmp_path / "plain.pt"))
    fixed = dict(SAM2, decode_head=dict(SAM2["decode_head"], add_no_mem_embed=False))
    with pytest.raises(ConfigError, match="use --layout official"):
        export_weights(Config(dict(model=fixed)), "untrained", tmp_path / "hub", "hf")
    assert (
        "directly_add_no_mem_embed"
        in export_weights(Config(dict(model=fixed)), "untrained", tmp_path / "a.pt").notes[1]
    )


@pytest.mark.parametrize("layout", ["official", "hf"])
def test_only_overwrite_replaces(trained, tmp_path, layout):
    config, checkpoint, model = trained(SAM)
    out = tmp_path / "out"
    export_weights(config, "untrained", out, layout)
    before = file_of(out).read_bytes()
    with pytest.raises(UserError, match="out exists already: choose another --out, or pass --overwrite"):
        export_weights(config, checkpoint, out, layout)
    assert file_of(out).read_bytes() == before
    with pytest.raises(UserError, match=r"is a (file|folder), and a (file|folder) is to be written"):
        export_weights(config, checkpoint, out, "hf" if layout == "official" else "official", overwrite=True)
    if layout == "hf":
        (out / "README.md").write_text("mine")
    export_weights(config, checkpoint, out, layout, overwrite=True)
    target = init_model(config, "untrained", "cpu")
    load_weights(target, str(file_of(out)))
    assert_same(model, target)
    assert layout == "official" or (out / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("layout", "writer", "error"),
    [
        ("official", "torch.save", RuntimeError),
        ("hf", "samplug.commands.published_weights.save_file", SafetensorError),
        ("hf", "pathlib.Path.write_text", OSError),
    ],
)
def test_what_was_there_stays_when_writing_fails(trained, tmp_path, monkeypatch, layout, writer, error):
    config, checkpoint, _ = trained(SAM)
    out = tmp_path / "exports" / "out"
    export_weights(config, "untrained", out, layout)
    before = {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()}

    def full(*args, **kwargs):
        raise error("No space left on device")

    monkeypatch.setattr(writer, full)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        export_weights(config, checkpoint, out, layout, overwrite=True)
    assert {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.rglob(".export-*"))


def test_command(trained, tmp_path, capsys):
    _, checkpoint, model = trained(SAM2)
    (tmp_path / "cfg.py").write_text(f"model = {SAM2!r}\n")
    arguments = [tmp_path / "cfg.py", checkpoint, "--layout", "official", "--out", tmp_path / "out.pt"]
    assert main("export-weights", list(map(str, arguments))) == 0
    printed = capsys.readouterr().out
    assert (
        f"{len(model.state_dict())} entries written to {tmp_path / 'out.pt'}\nnote: without the entries of the video"
        in printed
    )
    assert main("export-weights", list(map(str, arguments))) == 1
    assert "exists already" in capsys.readouterr().err
