"""Files to mutate, and the public functions that read them. A reader returns, or raises an error of samplug's own."""

import base64
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from safetensors.torch import save as safetensors_bytes

from samplug.apis import init_model
from samplug.checkpoints import load_weights, read_checkpoint
from samplug.commands.common import build_runner
from samplug.converters import Selection, read_annotations
from samplug.converters.writing import usable_drawings
from samplug.datasets import BinarySegDataset, SA1BDataset
from samplug.features import FeatureStore, VectorStore
from samplug.imaging.files import read_image, read_mask, read_size
from samplug.imaging.rasters import georeference, open_raster
from samplug.utils.files import read_json
from samplug.utils.rle import from_runs
from tests.builders import tiny_segmentor, tiny_segmentor_cfg, tiny_vit
from tests.checkpoints.test_loading import official_sam, randomised
from tests.engine.test_interruption import config as run_config
from tests.engine.test_resume_check import ready
from tests.fuzz import mutations
from tests.fuzz.images import BMP, SIZE, encoded, picture_files
from tests.fuzz.mutations import JSON, LEGACY, PNG, SAFETENSORS, TEXT, ZIP, Mutator


@dataclass
class Target:
    """Files and their reader.

    Attributes:
        seeds: (name below the folder, content, mutations) of each sound file.
        read: Reads the mutated file; the others are sound.
    """

    seeds: list[tuple[str, bytes, list[Mutator]]]
    read: Callable[[Path], Any]


def pictures(folder: Path) -> Target:
    """Image files, by all functions that read one."""

    def read(path: Path) -> None:
        failures = []
        for function in (read_size, read_image, read_mask, open_raster):
            try:
                function(path)
            except Exception as error:
                failures.append(error)
        georeference(path)
        if failures:
            raise failures[-1]

    return Target([(name, *rest) for name, rest in picture_files().items()], read)


def pairs(folder: Path) -> Target:
    """Images, masks and a list of pairs of a dataset that leaves out what cannot be used."""
    made = picture_files()
    for name in ("images", "masks"):
        (folder / name).mkdir()
        (folder / name / "sound.png").write_bytes(made["grey.png"][0])
    sound = [
        ("images/odd.jpg", *made["colour.jpg"]),
        ("masks/odd.png", *made["palette.png"]),
        ("masks/odd.png", *made["grey.png"]),
    ]
    listed = b"# pairs\nimages/odd.jpg\tmasks/odd.png\nimages/sound.png masks/sound.png\n"
    pipeline = [dict(type="LoadImage"), dict(type="LoadBinaryMask")]

    def read(path: Path) -> None:
        options: dict[str, Any] = dict(ann_file=str(path)) if path.name == "pairs.txt" else {}
        dataset = BinarySegDataset(
            str(folder), mask_values="0/255", on_error="skip", size_mismatch="resize_mask", pipeline=pipeline, **options
        )
        for sample in dataset:
            assert sample["gt_seg_map"].shape == sample["img"].shape[:2]
        assert options or len(dataset) + len(dataset.skipped) == 2, dataset.skipped

    return Target([*sound, ("pairs.txt", listed, TEXT)], read)


def _outlines() -> list[list[float]]:
    return [[2, 1, 12.5, 1, 12, 9, 2, 9], [15, 10, 25, 10, 25, 15]]


def sa1b(folder: Path) -> Target:
    """JSON files beside images, of which each may be left out."""
    image = picture_files()["colour.bmp"][0]
    runs = dict(size=list(SIZE), counts=[100, 40, 460])
    text = from_runs([100, 40, 460], SIZE)
    content = dict(
        image=dict(file_name="odd.bmp", height=SIZE[0], width=SIZE[1]),
        annotations=[dict(segmentation=segmentation, area=40) for segmentation in (runs, text, _outlines())],
    )
    for name in ("odd", "sound"):
        (folder / f"{name}.bmp").write_bytes(image)
        (folder / f"{name}.json").write_text(json.dumps(content))

    def read(path: Path) -> None:
        dataset = SA1BDataset(str(folder), on_error="skip")
        assert "sound" in {dataset.get_data_info(index)["img_id"] for index in range(len(dataset))}
        assert len(dataset) + len(dataset.skipped) == 2, dataset.skipped

    return Target([("odd.json", json.dumps(content).encode(), JSON), ("odd.bmp", image, BMP)], read)


def annotations(folder: Path) -> Target:
    """Annotations of COCO, labelme and YOLO, and the masks that they describe."""
    image = picture_files()["colour.bmp"][0]
    png = picture_files()["grey.png"][0]
    for name in ("coco", "labelme", "yolo/images", "yolo/labels", "maps", "pictures"):
        (folder / name).mkdir(parents=True)
    for name in ("coco", "labelme", "yolo/images", "pictures"):
        for stem in ("odd", "sound"):
            (folder / name / f"{stem}.bmp").write_bytes(image)
    coco = dict(
        images=[dict(id=number, file_name=f"{stem}.bmp", height=SIZE[0], width=SIZE[1]) for number, stem in enumerate(("odd", "sound"))],
        categories=[dict(id=1, name="cat"), dict(id=7, name="dog")],
        annotations=[
            dict(id=1, image_id=0, category_id=1, iscrowd=0, segmentation=_outlines()),
            dict(id=2, image_id=0, category_id=7, iscrowd=1, segmentation=dict(size=list(SIZE), counts=[100, 40, 460])),
            dict(id=3, image_id=1, category_id=7, segmentation=from_runs([100, 40, 460], SIZE)),
        ],
    )  # fmt: skip
    bitmap = base64.b64encode(encoded(".png", np.ones((3, 4), np.uint8))).decode()
    shapes = [
        dict(label="cat", points=[[1, 1], [9, 1], [9.5, 7]], shape_type="polygon", group_id=1),
        dict(label="cat", points=[[12, 2], [20, 9]], shape_type="rectangle", group_id=1),
        dict(label="dog", points=[[20, 12], [22, 14]], shape_type="circle"),
        dict(label="dog", points=[[3, 10], [6, 12]], shape_type="mask", mask=bitmap),
    ]
    labelme = dict(shapes=shapes, imagePath="odd.bmp", imageHeight=SIZE[0], imageWidth=SIZE[1], imageData=None)
    inside = labelme | dict(imagePath="gone.png", imageData=base64.b64encode(png).decode())
    (folder / "labelme/sound.json").write_text(json.dumps(labelme | dict(imagePath="sound.bmp")))
    label = b"0 .1 .1 .5 .1 .5 .5\n1 .6 .6 .9 .6 .9 .9 .6 .9\n"
    (folder / "yolo/labels/sound.txt").write_bytes(label)
    data = b"path: .\ntrain: images\nval: [images/sound.bmp]\nnc: 2\nnames:\n  0: cat\n  1: dog\n"
    maps = encoded(".png", np.repeat(np.arange(20, dtype=np.uint8)[:, None], 30, 1))
    (folder / "maps/sound.png").write_bytes(maps)

    def read(path: Path) -> None:
        root = folder / path.relative_to(folder).parts[0]
        source = path if path.name in ("instances.json", "data.yaml") else root
        of_maps = dict(format="label-maps", images=folder / "pictures") if root.name == "maps" else {}
        found = read_annotations(source, **of_maps)
        drawings, problems, _ = usable_drawings("to-masks", found, Selection(crowd="ignore"), True)
        for drawing in drawings:
            for region, _ in drawing.regions:
                assert region.shape.raster(drawing.size).shape == drawing.size
        json.dumps([problem._asdict() for problem in problems]).encode()
        if source is root:
            assert "sound" in {drawing.image.name.stem for drawing in drawings}

    return Target(
        [
            ("coco/instances.json", json.dumps(coco).encode(), JSON),
            ("labelme/odd.json", json.dumps(labelme).encode(), JSON),
            ("labelme/odd.json", json.dumps(inside).encode(), JSON),
            ("yolo/labels/odd.txt", label, TEXT),
            ("yolo/data.yaml", data, TEXT),
            ("yolo/data.yaml", json.dumps(dict(train="images", names=["cat", "dog"], nc=2)).encode(), JSON),
            ("maps/odd.png", maps, PNG),
        ],
        read,
    )


def texts(folder: Path) -> Target:
    """JSON of any content."""
    return Target(
        [("any.json", json.dumps(dict(a=[1, 2.5, None, "é"], b={"c": "\ud83d\ude00"})).encode(), JSON)], read_json
    )


def _checkpoint() -> dict[str, Any]:
    history = HistoryBuffer()
    history.update(0.5)
    weights = dict(randomised(tiny_segmentor()).state_dict())
    return dict(
        state_dict=weights,
        meta=dict(iter=4, epoch=0, seed=1, config="a = 1\nb = dict(c=[1, 2.5, None])\n", dataset_meta=dict(classes=("a",))),
        message_hub=dict(log_scalars={"train/loss": history}, runtime_info=dict(cfg="a = 1\n", lr=np.float64(0.1), x=np.arange(3))),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0), exp_avg=torch.zeros(3))}, param_groups=[dict(lr=0.1, params=[0])]),
    )  # fmt: skip


def weights(folder: Path) -> Target:
    """Weight files of each format, read and loaded into modules."""
    torch.manual_seed(0)
    encoder, state = tiny_vit(), official_sam(randomised(tiny_vit()))
    streams = [io.BytesIO() for _ in range(4)]
    torch.save(_checkpoint(), streams[0])
    torch.save(state, streams[1], _use_new_zipfile_serialization=False)
    torch.save(_checkpoint(), streams[2], _use_new_zipfile_serialization=False)
    torch.save(state, streams[3])
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(3, 3)), torch.zeros(1, 3)), scripted)
    shards = folder / "shards"
    shards.mkdir()
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, keys in parts.items():
        (shards / shard).write_bytes(safetensors_bytes({key: state[key] for key in keys}))
    index = dict(metadata=dict(total_size=1), weight_map={key: shard for shard, keys in parts.items() for key in keys})
    cfg = Config(dict(model=tiny_segmentor_cfg()))
    samples = random.Random(0)

    def read(path: Path) -> None:
        if path.parent == shards:
            read_checkpoint(shards / "model.safetensors.index.json")
            return
        read_checkpoint(path)
        if path.name in ("run.pth", "old_run.pth"):
            if samples.random() < 0.5:
                init_model(cfg, path, device="cpu")
        elif path.name != "scripted.pt":
            load_weights(encoder, str(path))
            assert all(torch.isfinite(value).all() for value in encoder.parameters())

    return Target(
        [
            ("run.pth", streams[0].getvalue(), ZIP),
            ("old.pth", streams[1].getvalue(), LEGACY),
            ("old_run.pth", streams[2].getvalue(), LEGACY),
            ("sam.pth", streams[3].getvalue(), ZIP),
            ("scripted.pt", scripted.getvalue(), ZIP),
            ("sam.safetensors", safetensors_bytes(state, dict(format="pt")), SAFETENSORS),
            ("shards/model.safetensors.index.json", json.dumps(index).encode(), JSON),
            ("shards/b.safetensors", (shards / "b.safetensors").read_bytes(), SAFETENSORS),
        ],
        read,
    )


def features(folder: Path) -> Target:
    """Entries of cached maps and vectors: a result is what was written, or nothing."""
    maps = [torch.arange(16.0).reshape(4, 2, 2).bfloat16(), torch.ones(2, 1, 1).bfloat16()]
    store, keys = FeatureStore(folder), ["ab" * 32, "cd" * 32]
    store.write(keys[0], maps)
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
    with VectorStore(folder / "vectors.bin", 4, "source") as written:
        written.append(keys, vectors)
    entry = store.path(keys[0])

    def read(path: Path) -> None:
        if path == entry:
            found = store.read(keys[0])
            assert found is None or all(isinstance(value, torch.Tensor) for value in found)
            return
        opened = VectorStore(path, 4, "source")
        for key in keys:
            vector = opened.read(key)
            # Records may be moved and repeated whole; none is joined from two.
            assert vector is None or any(np.array_equal(vector, one) for one in vectors)

    return Target(
        [
            (str(entry.relative_to(folder)), entry.read_bytes(), SAFETENSORS),
            ("vectors.bin", (folder / "vectors.bin").read_bytes(), mutations.BYTES),
        ],
        read,
    )


def resuming(folder: Path) -> Target:
    """Checkpoints of a tiny run with odd values: refused before it goes on, or the next step can be made."""
    cfg = run_config(folder, False)
    cfg.train_cfg.max_iters = 4
    cfg.default_hooks.checkpoint.interval = 4
    build_runner(cfg).train()
    whole = read_checkpoint(folder / "iter_4.pth")
    runner = ready(folder / "ready")
    batch = next(iter(runner.train_loop.dataloader))

    def changed(rng: random.Random, data: bytes) -> bytes:
        stream = io.BytesIO()
        try:
            torch.save(mutations.content(rng, whole, torch.Tensor), stream)
        except RecursionError:  # nested too deeply to be written
            return data
        return stream.getvalue()

    def read(path: Path) -> None:
        runner.resume(str(path))
        runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        for scheduler in runner.param_schedulers:
            scheduler.step()
        for history in runner.message_hub.log_scalars.values():
            history.update(1.0)
            history.mean()

    return Target([("iter_4.pth", (folder / "iter_4.pth").read_bytes(), [changed])], read)


TARGETS: dict[str, tuple[Callable[[Path], Target], int]] = {
    "pictures": (pictures, 6000),
    "pairs": (pairs, 600),
    "sa1b": (sa1b, 600),
    "annotations": (annotations, 1500),
    "texts": (texts, 1000),
    "weights": (weights, 400),
    "features": (features, 3000),
    "resuming": (resuming, 40),
}
"""Name -> function that makes the files in a folder, and number of cases in the suite."""
