"""Names go back the way they came, for every key of the published files."""

import json

import pytest
import torch

from samplug.checkpoints.errors import WeightsError
from samplug.checkpoints.export import SAM, SAM2, hub_state, official_file
from samplug.checkpoints.families import recognise
from samplug.checkpoints.hub_models import hub_sam, hub_sam2
from samplug.registry import MODELS
from tests.checkpoints.test_sam2_files import PUBLISHED

FILES = {f"sam_vit_{size}": f"vit_{size}" for size in "blh"} | PUBLISHED


def tensors(shapes):
    """One for each key, told apart by their values, without memory for the shapes."""
    return {key: torch.tensor(float(index)).expand(shape) for index, (key, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("name", FILES)
def test_official_keys(test_data, name):
    shapes = json.loads((test_data / "parity/keys" / f"{name}.json").read_text())
    state, layout = tensors(shapes), recognise(shapes)
    converted = layout.convert(state)
    back = layout.gather(converted, layout.keys_of(converted))
    left_out = {key for key in state if layout.rename(key) == ()}
    assert set(back) == set(state) - left_out
    assert bool(left_out) == name.startswith("sam2")
    assert all(back[key] is state[key] for key in back)


@pytest.mark.parametrize("name", FILES)
def test_hub_keys(test_data, name):
    """The keys of transformers' model of the same sizes are those of the file, and each gets the entry that it came from."""
    shapes = json.loads((test_data / "parity/keys" / f"{name}.hf.json").read_text())["hub_names"]
    layout = recognise(shapes)
    with torch.device("meta"):
        sam2 = name.startswith("sam2")
        model = MODELS.build(
            dict(
                type="PromptableSAM",
                backbone=dict(type="SAM2Hiera" if sam2 else "SAMViT", arch=FILES[name]),
                decode_head=dict(type="SAM2MaskDecoder" if sam2 else "SAMMaskDecoder", prompts=True),
            )
        )
    hub = (hub_sam2 if sam2 else hub_sam)(model)
    wanted = {key: shape for key, shape in shapes.items() if layout.rename(key) != ()}
    assert {key: list(value.shape) for key, value in hub.state_dict().items()} == wanted
    state = tensors(wanted)
    same = "prompt_encoder.shared_embedding.positional_embedding"
    state["shared_image_embedding.positional_embedding"] = state[same]
    back = layout.gather(layout.convert(state), wanted)
    assert set(back) == set(state)
    assert all(torch.equal(back[key].flatten()[:1], value.flatten()[:1]) for key, value in state.items())
    assert {key: list(value.shape) for key, value in back.items()} == wanted


def test_nothing_is_left_out_or_made_up():
    state = {"backbone.pos_embed": torch.zeros(1)}
    assert set(official_file(state, SAM)) == {"image_encoder.pos_embed"}
    assert set(official_file(state, SAM2)["model"]) == {"image_encoder.pos_embed"}
    assert set(hub_state(state, SAM, ["vision_encoder.pos_embed"])) == {"vision_encoder.pos_embed"}
    for family in (SAM, SAM2):
        with pytest.raises(WeightsError, match=r"no place for 1 entries of the model \(loss_fn\.scale\)"):
            official_file(state | {"loss_fn.scale": torch.zeros(1)}, family)
    with pytest.raises(WeightsError, match=r"lacks 1 of its entries \(backbone\.other\)"):
        hub_state(state, SAM, ["vision_encoder.pos_embed", "vision_encoder.other"])
