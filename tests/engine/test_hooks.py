"""Files that hooks write."""

import errno
import os
from collections import deque
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import ConcatDataset
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from samplug.datasets import VideoFolderDataset
from samplug.datasets.seeding import SeededDataset
from samplug.engine import OverlayHook
from samplug.engine.hooks import CheckpointHook, checkpoint
from samplug.engine.hooks.overlay import _file_names, _inside
from samplug.models.prompts import objects_of
from samplug.utils.files import WriteError
from samplug.utils.rle import encode_rle
from samplug.visualization import compare_sheet, draw_overlay
from tests.datasets.test_video_folder import frame


def sample(path, logits):
    data = SegDataSample(metainfo=dict(img_path=str(path), ori_shape=logits.shape[-2:]))
    data.seg_logits = PixelData(data=logits)
    data.pred_sem_seg = PixelData(data=(logits[:1] > 0).long())
    data.gt_sem_seg = PixelData(data=torch.ones_like(data.pred_sem_seg.data))
    return data


def test_masks_and_overlays(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((6, 9, 3), 200, np.uint8))
    logits = torch.linspace(-4, 4, 54).reshape(1, 6, 9)
    hook = OverlayHook(mask_dir=str(tmp_path / "m"), overlay_dir=str(tmp_path / "o"))
    hook.after_test_iter(None, 0, dict(inputs=[torch.zeros(3, 4, 4)]), [sample(tmp_path / "a.jpg", logits)])
    mask = cv2.imread(str(tmp_path / "m" / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, (logits[0].sigmoid() * 255).round().numpy())
    overlay = cv2.imread(str(tmp_path / "o" / "a.png"))
    assert overlay.shape == (6, 9, 3)
    assert len(np.unique(overlay.reshape(-1, 3), axis=0)) > 1
    # Another image of this name that the dataset did not list.
    hook.after_test_iter(None, 0, dict(inputs=[torch.zeros(3, 6, 9)]), [sample(tmp_path / "sub" / "a.jpg", -logits)])
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["a.png", "a_1.png"]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "m" / "a.png"), cv2.IMREAD_UNCHANGED), mask)


def test_a_full_disk_costs_pictures_and_no_scores(tmp_path, monkeypatch):
    """The test continues without writing, leaves no partial file, and ends with the error."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((6, 9, 3), 200, np.uint8))
    hook = OverlayHook(mask_dir=str(tmp_path / "m"))
    logits = torch.linspace(-4, 4, 54).reshape(1, 6, 9)

    def write(number):
        hook.after_test_iter(None, number, dict(inputs=[]), [sample(tmp_path / f"{number}.jpg", logits)])

    write(0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        write(1)
    write(2)  # there is space again, but a folder with a gap would be mistaken for a whole one
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["0.png"]
    with pytest.raises(WriteError, match=r"m/1\.png cannot be written: No space left .* free space there"):
        hook.after_test(None)
    hook.after_test(None)  # once


def test_objects_have_numbers(tmp_path):
    """A small object shows in front of a large one."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 200, np.uint8))
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[0, 5:8, 5:8] = masks[1, 2:18, 2:28] = 1
    data = DetDataSample(metainfo=dict(img_path=str(tmp_path / "a.png"), ori_shape=(20, 30)))
    data.gt_instances = InstanceData(masks=BitmapMasks(masks, 20, 30))
    data.pred_instances = InstanceData(masks=[encode_rle(m == 1) for m in masks])
    hook = OverlayHook(mask_dir=str(tmp_path / "m"), overlay_dir=str(tmp_path / "o"))
    hook.after_test_iter(None, 0, dict(inputs=[torch.zeros(3, 4, 4)]), [data])
    numbers = cv2.imread(str(tmp_path / "m" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert numbers.dtype == np.uint16
    np.testing.assert_array_equal(numbers, np.where(masks[0] == 1, 1, 2 * masks[1]))
    overlay = cv2.imread(str(tmp_path / "o" / "a.png"))
    assert overlay.shape == (20, 60, 3)  # prediction and truth
    np.testing.assert_array_equal(overlay[:, :30], overlay[:, 30:])
    assert (overlay[0, 0] == 200).all()


def shown(tmp_path, *datasets):
    """Names of the files that a test over datasets writes, with a model that knows the answer."""

    class Model(torch.nn.Module):
        def test_step(self, sample):
            masks = objects_of(sample)[:, 0].numpy() == 1
            sample.pred_instances = InstanceData(masks=[encode_rle(mask) for mask in masks])
            return sample

    model, hook = Model(), OverlayHook(mask_dir=str(tmp_path / "m"), overlay_dir=str(tmp_path / "o"))
    dataset = SeededDataset(ConcatDataset(list(datasets)) if len(datasets) > 1 else datasets[0], seed=0)
    hook.before_test(SimpleNamespace(model=model, test_dataloader=SimpleNamespace(dataset=dataset)))
    for index in range(len(dataset)):
        item = dataset[index]
        hook.after_test_iter(None, index, {"inputs": [item["inputs"]]}, [model.test_step(item["data_samples"])])
    found = [{str(path.relative_to(tmp_path / kind)) for path in (tmp_path / kind).rglob("*.png")} for kind in "mo"]
    assert found[0] == found[1]
    return found[0]


def videos(root, name, videos, meta_keys=("img_path", "ori_shape", "dataset_name")):
    for video in videos:
        for number in range(2):
            frame(root / name, video, number)
    pipeline = [
        dict(type="LoadImage"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="mmdet.PackDetInputs", meta_keys=meta_keys),
    ]
    return VideoFolderDataset(str(root / name), pipeline=pipeline, test_mode=True)


def test_frames_of_one_name(tmp_path):
    """All videos begin with 00000: the folder tells them apart, and the name stays short where it need not."""
    assert shown(tmp_path / "out", videos(tmp_path, "one", ["v"])) == {"00000.png", "00001.png"}
    two = videos(tmp_path, "two", ["v", "w"])
    wanted = {f"{video}/0000{number}.png" for video in "vw" for number in range(2)}
    assert shown(tmp_path / "out2", two) == wanted
    found = shown(tmp_path / "out3", videos(tmp_path, "one", ["v"]), two)
    assert found == {"one/00000.png", "one/00001.png", *(f"two/{name}" for name in wanted)}
    # Samples that do not say their set.
    silent = videos(tmp_path, "three", ["v", "w"], meta_keys=("img_path", "ori_shape"))
    assert shown(tmp_path / "out4", silent, two) == {f"{name}/{file}" for name in ("two", "three") for file in wanted}


class Listed:
    """A dataset of another package that lists its images but has no name."""

    def __init__(self, *images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return dict(img_path=self.images[index])


def test_sets_that_name_neither_themselves_nor_their_samples():
    """Each set has a folder named like its row of scores; an image in two sets gives two files."""
    sets = SimpleNamespace(datasets=[Listed("x/a.png", "x/v/0.png", "x/w/0.png"), Listed("x/a.png"), range(2)])
    assert _file_names(sets) == ["set0/a.png", "set0/v/0.png", "set0/w/0.png", "set1/a.png", None, None]
    assert _file_names(Listed("x/0.png", "x/1.png", "x/0.png")) == ["0.png", "1.png", "0.png"]


def test_names_of_sets_lead_nowhere_else():
    assert [_inside(name) for name in ("CAMO", "a/b", "../../x", "/etc", "..")] == ["CAMO", "a/b", "x", "etc", "set"]


def test_nothing_is_written_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OverlayHook().after_test_iter(None, 0, dict(inputs=[]), [sample("a.jpg", torch.zeros(1, 2, 2))])
    assert not list(tmp_path.iterdir())


def test_pictures_leave_their_inputs_alone():
    image = np.full((40, 60, 3), 90, np.uint8)
    pred = np.zeros((40, 60), bool)
    pred[10:20, 10:20] = True
    overlay = draw_overlay(image, pred, ~pred)
    assert (image == 90).all()
    assert (overlay[15, 15] != 90).any()
    sheet = compare_sheet([dict(image=image, overlay=overlay), dict(image=image, overlay=image[..., 0])], height=50)
    assert sheet.shape[2] == 3
    assert sheet.shape[0] > 100


def test_chosen_checkpoints_stay(tmp_path, monkeypatch):
    """Besides the newest of the others, which they do not displace."""
    monkeypatch.setattr(checkpoint, "training_state", lambda runner, within_epoch: {})
    hook = CheckpointHook(interval=1, max_keep_ckpts=1, keep=[2, 4])
    hook.out_dir, hook.file_backend, hook.keep_ckpt_ids = str(tmp_path), LocalBackend(), deque()
    hook.filename_tmpl = "epoch_{}.pth"
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        message_hub=MessageHub("checkpoints"),
        save_checkpoint=lambda folder, name, *args, **kwargs: (tmp_path / name).touch(),
    )
    found = []
    for epoch in range(1, 7):
        hook._save_checkpoint_with_step(runner, epoch, {})
        found.append([int(path.stem.removeprefix("epoch_")) for path in sorted(tmp_path.glob("*.pth"))])
    assert found == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [2, 4, 6]]
    assert (tmp_path / "last_checkpoint").read_text().endswith("epoch_6.pth")
