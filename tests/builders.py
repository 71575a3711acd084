"""Tiny models and checkpoints for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.io import savemat

from samplug.datasets.synthetic import camouflage_scene
from samplug.registry import MODELS
from samplug.utils.rle import encode_rle

TINY_ARCH = dict(embed_dims=48, depth=3, num_heads=3, global_attn_indexes=[1], window_size=3, patch_size=16)

TINY_HIERA = dict(embed_dims=16, num_heads=1, stages=[1, 2, 2, 1], global_attn_blocks=[4])

TINY_CLIP = dict(embed_dims=32, depth=3, num_heads=4, patch_size=16, projection_dims=24, pretrain_img_size=64)

TINY_DINOV2 = dict(embed_dims=48, depth=3, num_heads=3, num_registers=2, patch_size=16, pos_grid=3)


def tiny_vit(**kwargs: Any):
    return MODELS.build(dict(type="SAMViT", **{"arch": TINY_ARCH, "img_size": 64, **kwargs}))


def tiny_hiera(**kwargs: Any):
    return MODELS.build(dict(type="SAM2Hiera", **{"arch": TINY_HIERA, "img_size": 64, **kwargs}))


def tiny_clip(**kwargs: Any):
    return MODELS.build(dict(type="CLIPViT", **{"arch": TINY_CLIP, "img_size": 64, **kwargs}))


def tiny_dinov2(**kwargs: Any):
    return MODELS.build(dict(type="DINOv2ViT", **{"arch": TINY_DINOV2, "img_size": 64, **kwargs}))


def offline_hub(folder: Path, monkeypatch: Any, repository: str) -> Path:
    """Make a Hub cache of one repository, with the network switched off; return the place of its files."""
    from huggingface_hub import constants

    repo = folder / f"models--{repository.replace('/', '--')}"
    snapshot = repo / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(folder), raising=False)
    return snapshot


def write_sa1b(folder: Path, images: int = 12) -> None:
    """Images of one to three objects, with a json beside each."""
    folder.mkdir()
    for index in range(images):
        image, mask = camouflage_scene(0, index, 40)
        cv2.imwrite(str(folder / f"{index}.jpg"), image)
        masks = [mask == 1, mask[::-1] == 1, mask[:, ::-1] == 1][: 1 + index % 3]
        annotations = [dict(segmentation=encode_rle(np.ascontiguousarray(one))) for one in masks]
        content = dict(image=dict(file_name=f"{index}.jpg", width=40, height=40), annotations=annotations)
        (folder / f"{index}.json").write_text(json.dumps(content))


def bsds_cells(*maps):
    """Segmentations as a file of BSDS500 has them: cells of structures."""
    people = np.empty((1, len(maps)), object)
    for index, labels in enumerate(maps):
        people[0, index] = dict(Segmentation=labels, Boundaries=np.zeros_like(labels, np.uint8))
    return dict(groundTruth=people)


def write_bsds(root, name, *maps, split="train", size=(110, 150)):
    for folder in ("images", "groundTruth"):
        (root / folder / split).mkdir(parents=True, exist_ok=True)
    image = np.zeros((*size, 3), np.uint8)
    image[: maps[0].shape[0], : maps[0].shape[1]] = maps[0][..., None] * 30
    cv2.imwrite(str(root / "images" / split / f"{name}.jpg"), image)
    savemat(root / "groundTruth" / split / f"{name}.mat", bsds_cells(*maps))
    return root / "groundTruth" / split / f"{name}.mat"


def save_encoder(path: Path, cfg: Mapping[str, Any], seed: int = 0) -> str:
    """Random weights of an encoder, in a file with the official names."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = MODELS.build(dict(cfg))
        encoder.init_weights()
    torch.save({f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}, path)
    return str(path)


def tiny_tssam_cfg(backbone: dict | None = None, adapter: dict | None = None, **kwargs: Any) -> dict:
    return dict(
        type="TSSAM",
        backbone=dict(type="SAMViT", **{"arch": TINY_ARCH, "img_size": 64, **(backbone or {})}),
        adapter=dict(type="TSSAMSideNetwork", **{"side_channels": 16, "mrm_blocks": [2], **(adapter or {})}),
        **kwargs,
    )


def tiny_tssam(**kwargs: Any):
    return MODELS.build(tiny_tssam_cfg(**kwargs))


def tiny_segmentor_cfg(adapter: dict | None = None, backbone: dict | None = None, **kwargs: Any) -> dict:
    return dict(
        type="SAMSegmentor",
        backbone={"type": "SAMViT", "arch": TINY_ARCH, "img_size": 64, **(backbone or {})},
        adapter=adapter,
        **kwargs,
    )


def tiny_segmentor(**kwargs: Any):
    return MODELS.build(tiny_segmentor_cfg(**kwargs))


def tiny_promptable(backbone: dict | None = None, **kwargs: Any):
    backbone = {"type": "SAMViT", "arch": TINY_ARCH, "img_size": 64, **(backbone or {})}
    return MODELS.build(dict(type="PromptableSAM", backbone=backbone, **kwargs))


def from_fixture(entry: dict) -> dict:
    """Config of the TS-SAM that a reference file was made with."""
    mode = entry["config"]["encoder_mode"]
    arch = dict(
        embed_dims=mode["embed_dim"],
        depth=mode["depth"],
        num_heads=mode["num_heads"],
        global_attn_indexes=mode["global_attn_indexes"],
        window_size=mode["window_size"],
    )
    return dict(
        type="TSSAM",
        backbone=dict(type="SAMViT", arch=arch, img_size=entry["config"]["inp_size"]),
        adapter=dict(
            type="TSSAMSideNetwork",
            side_channels=mode["embed_dim"] // mode["scale_factor"],
            csa_blocks=mode["csa_block_indice"],
            mrm_blocks=mode["mrm_block_indice"],
            use_fft=mode["use_fft"],
            feedback=True,
        ),
        decode_head=dict(type="FeatureFusionDecoder"),
        loss={"iou": "bce_iou", "bbce": "balanced_bce"}[entry["config"]["loss"]],
    )


def released_names(model_names, released) -> dict[str, str]:
    """samplug's name -> name in the released TS-SAM layout, both being the same set of tensors."""
    table = {}
    for name in model_names:
        part, _, rest = name.partition(".")
        table[name] = f"mask_decoder.{rest}" if part == "decode_head" else f"image_encoder.{rest}"
    assert set(table.values()) == set(released)
    return table
