"""SAM 2's weight files: official and Hugging Face, strict in both directions."""

import json

import pytest
import torch

from samplug.checkpoints import WeightsError, load_weights
from samplug.checkpoints.families import describe, recognise
from samplug.checkpoints.loading import load_state
from samplug.registry import MODELS
from tests.builders import TINY_HIERA, tiny_hiera, tiny_segmentor, tiny_tssam, tiny_vit
from tests.checkpoints.test_loading import assert_equal, randomised

PUBLISHED = {
    "sam2.1_hiera_tiny": "hiera_t",
    "sam2.1_hiera_small": "hiera_s",
    "sam2.1_hiera_base_plus": "hiera_b+",
    "sam2.1_hiera_large": "hiera_l",
    "sam2_hiera_large": "hiera_l",
}
VIDEO = {
    "memory_attention.norm.weight": (256,), "memory_encoder.out_proj.weight": (64, 256, 1, 1), "maskmem_tpos_enc": (7, 1, 1, 64),
    "no_mem_pos_enc": (1, 1, 256), "no_obj_ptr": (1, 256), "no_obj_embed_spatial": (1, 64), "mask_downsample.weight": (1, 1, 4, 4),
    "obj_ptr_proj.layers.0.weight": (256, 256), "obj_ptr_tpos_proj.weight": (64, 256),
}  # fmt: skip


def tiny_sam2(**kwargs):
    backbone = dict(type="SAM2Hiera", arch=TINY_HIERA)
    return tiny_segmentor(backbone=backbone, decode_head=dict(type="SAM2MaskDecoder"), **kwargs)


def official(model):
    """A state dict in SAM 2's official layout, with entries of the video model."""
    state = {
        key.removeprefix("decode_head.").replace("backbone.", "image_encoder.", 1): value.clone()
        for key, value in model.state_dict().items()
    }
    return state | {key: torch.zeros(shape) for key, shape in VIDEO.items()}


PARTS = [lambda model: model, lambda model: model.backbone, lambda model: model.decode_head]


@pytest.mark.parametrize("part", PARTS, ids=["whole", "backbone", "decode_head"])
def test_official_file(tmp_path, part):
    source, target = randomised(tiny_sam2()), part(tiny_sam2())
    torch.save({"model": official(source)}, tmp_path / "sam2.pt")
    report = load_weights(target, str(tmp_path / "sam2.pt"))
    assert report.fits
    assert not report.resized
    assert set(report.loaded) == set(target.state_dict())
    assert_equal(part(source), target)


@pytest.mark.parametrize("key", ["image_encoder.trunk.pos_embed", "sam_mask_decoder.conv_s0.bias", "no_mem_embed"])
def test_every_entry_must_be_there(key):
    model = tiny_sam2()
    state = official(model)
    del state[key]
    with pytest.raises(WeightsError, match="1 missing in the file"):
        load_state(model, state, "sam2.pt")


@pytest.mark.parametrize("key", ["memory.weight", "no_obj_ptr.weight", "image_encoder.trunk.blocks.0.lora.weight"])
def test_only_what_is_known_is_left_out(key):
    model = tiny_sam2()
    with pytest.raises(WeightsError, match="1 unexpected in the file"):
        load_state(model, official(model) | {key: torch.zeros(1)}, "sam2.pt")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files(test_data, name):
    """Names and shapes of the official file and of the Hub's; the numbers are zeros that take no memory."""
    keys = json.loads((test_data / "parity/keys" / f"{name}.json").read_text())
    table = json.loads((test_data / "parity/keys" / f"{name}.hf.json").read_text())
    with torch.device("meta"):
        model = MODELS.build(
            dict(
                type="SAMSegmentor",
                backbone=dict(type="SAM2Hiera", arch=PUBLISHED[name]),
                decode_head=dict(type="SAM2MaskDecoder"),
            )
        )
        files = [{key: torch.empty(shape) for key, shape in names.items()} for names in (keys, table["hub_names"])]
    own = model.state_dict()
    for state in files:
        converted = recognise(state).convert(state)
        assert {key: value.shape for key, value in converted.items()} == {
            key: value.shape for key, value in own.items()
        }
        assert describe(state).startswith(
            f"SAM 2{' (Hugging Face)' if state is files[1] else ''} Hiera-{PUBLISHED[name][6:].upper()}"
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_hub_names_are_the_official_ones(test_data, name):
    table = json.loads((test_data / "parity/keys" / f"{name}.hf.json").read_text())
    hub, theirs = (
        recognise(table["hub_names"]),
        recognise(json.loads((test_data / f"parity/keys/{name}.json").read_text())),
    )
    for ours, source in table["hub_from_official"].items():
        sources = source["concat_rows"] if isinstance(source, dict) else [source]
        expected = [theirs.rename(key) for key in sources]
        renamed = hub.rename(ours)
        assert (list(renamed) if isinstance(source, dict) else [renamed]) == expected


def test_files_for_another_model_are_explained(tmp_path):
    torch.save({"model": official(tiny_sam2())}, tmp_path / "sam2.pt")
    with pytest.raises(WeightsError, match="looks like SAM 2 encoder of width 16 with 6 blocks"):
        load_weights(tiny_vit(), str(tmp_path / "sam2.pt"))
    with pytest.raises(WeightsError, match="fix: a SAM file has no adapter"):
        load_weights(tiny_tssam(), str(tmp_path / "sam2.pt"))
    wider = tiny_hiera(arch=dict(TINY_HIERA, embed_dims=32))
    with pytest.raises(WeightsError, match=r"of another shape: trunk\.pos_embed"):
        load_weights(wider, str(tmp_path / "sam2.pt"))


def test_wrong_number_of_point_embeddings_is_reported():
    hub = recognise(["vision_encoder.backbone.pos_embed"])
    key = "prompt_encoder.point_embed.weight"
    assert len(hub.convert({key: torch.zeros(4, 256)})) == 4
    assert set(hub.convert({key: torch.zeros(5, 256)})) == {key}
