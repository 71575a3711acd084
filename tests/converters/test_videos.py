"""Frames out of videos, and images as videos of one frame."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samplug.converters import extract_frames, to_videos
from samplug.datasets import DataError, VideoFolderDataset
from samplug.utils.errors import ConfigError

SHAPE = (32, 48)


def write_video(path, frames=7):
    """Grey frames, each 20 brighter than the last."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, SHAPE[::-1])
    for number in range(frames):
        writer.write(np.full((*SHAPE, 3), 40 + 20 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (dict(), range(7)),
        (dict(every=3), (0, 3, 6)),
        (dict(max_frames=2), (0, 1)),
        (dict(every=2, max_frames=3), (0, 2, 4)),
    ],
)
def test_frames(tmp_path, options, numbers):
    video = write_video(tmp_path / "one.two.avi")
    assert extract_frames([video], tmp_path, **options) == {"one.two": len(numbers)}
    folder = tmp_path / "JPEGImages" / "one.two"
    assert sorted(path.name for path in folder.iterdir()) == [f"{number:05d}.jpg" for number in numbers]
    for number in numbers:
        frame = cv2.imread(str(folder / f"{number:05d}.jpg"))
        assert frame.shape == (*SHAPE, 3)
        assert abs(frame.mean() - (40 + 20 * number)) < 4
    assert not list(folder.parent.glob(".*"))


def test_videos_that_cannot_be_read(tmp_path):
    good, text = write_video(tmp_path / "good.avi"), tmp_path / "text.mp4"
    text.write_text("quota exceeded")
    for bad, message in (
        (text, r"text\.mp4 \(14 bytes\) is not a video.*convert it"),
        (tmp_path / "gone.mp4", r"gone\.mp4 does not exist"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            extract_frames([good, bad], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_would_end_the_process(tmp_path):
    """OpenCV stops the interpreter at a name that is not UTF-8."""
    (tmp_path / "caf\udce9.mp4").write_bytes(write_video(tmp_path / "a.mp4").read_bytes())
    with pytest.raises(DataError, match=r"a name that is not UTF-8.*: rename it"):
        extract_frames([tmp_path / "caf\udce9.mp4"], tmp_path)


def test_frames_in_the_way(tmp_path):
    video = write_video(tmp_path / "a.avi")
    extract_frames([video], tmp_path)
    with pytest.raises(DataError, match=r"JPEGImages/a exists.*--overwrite"):
        extract_frames([video], tmp_path)
    extract_frames([video], tmp_path, every=5, overwrite=True)
    assert len(list((tmp_path / "JPEGImages/a").iterdir())) == 2
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match="two videos are called a"):
        extract_frames([video, write_video(tmp_path / "sub" / "a.avi")], tmp_path / "out")
    with pytest.raises(ConfigError, match="every=0"):
        extract_frames([video], tmp_path / "out", every=0)


def pair(root, name, mask):
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    cv2.imwrite(str(root / "images" / f"{name}.jpg"), np.full((*mask.shape, 3), 70, np.uint8))
    cv2.imwrite(str(root / "masks" / f"{name}.png"), mask)


def trimap():
    """1 object, 2 background, 3 border."""
    mask = np.full(SHAPE, 2, np.uint8)
    mask[4:20, 4:20] = 3
    mask[8:16, 8:16] = 1
    return mask


def test_images_as_videos(tmp_path):
    for index in range(10):
        pair(tmp_path, f"n{index}", trimap())
    folders = (tmp_path / "images", tmp_path / "masks")
    values = dict(foreground=[1, 3], background=[2])
    assert to_videos(*folders, tmp_path / "out", 0.3, mask_values=values) == dict(train=7, val=3)
    lists = [(tmp_path / "out" / f"{part}_list.txt").read_text().split("\n") for part in ("train", "val")]
    assert sorted(lists[0] + lists[1]) == [f"n{index}" for index in range(10)]
    dataset = VideoFolderDataset(str(tmp_path / "out"), ann_file="val_list.txt")
    assert len(dataset) == 3
    (one,) = dataset.get_data_info(0)["instances"]
    np.testing.assert_array_equal(coco_mask.decode(one["mask"]), trimap() != 2)
    frame = next((tmp_path / "out/JPEGImages").glob("*/00000.jpg"))
    assert frame.read_bytes() == (tmp_path / "images" / f"{frame.parent.name}.jpg").read_bytes()
    # The same seed splits alike, another one does not.
    for seed, same in ((42, True), (1, False)):
        to_videos(*folders, tmp_path / f"again{seed}", 0.3, seed, values)
        assert ((tmp_path / f"again{seed}/val_list.txt").read_text().split("\n") == lists[1]) == same


def test_nothing_is_written_if_a_pair_is_broken(tmp_path):
    for name in "abc":
        pair(tmp_path, name, (trimap() < 2) * np.uint8(255))
    (tmp_path / "masks/a.png").unlink()
    cv2.imwrite(str(tmp_path / "masks/b.png"), np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError, match=r"(?s)to-videos: 2 problems, 2 pairs.*a\.jpg: has no mask.*b: mask .*is 3x3"):
        to_videos(tmp_path / "images", tmp_path / "masks", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="val_fraction=1 must be"):
        to_videos(tmp_path / "images", tmp_path / "masks", tmp_path / "out", val_fraction=1)
