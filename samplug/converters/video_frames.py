"""Extract frames of video files to the folders that ``VideoFolderDataset`` and annotation tools read."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2

from samplug.converters.annotations import is_text_name
from samplug.converters.arguments import add_overwrite
from samplug.utils.errors import ConfigError, DataError
from samplug.utils.files import replacing_folder

_QUALITY = 95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("dst", type=Path, help="folder in which JPEGImages/ is made")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only frames 0, N, 2 N, ...")
    parser.add_argument("--max-frames", type=int, metavar="N", help="largest number of frames from a video")
    add_overwrite(parser)


def execute(args: argparse.Namespace) -> None:
    for name, number in extract_frames(args.videos, args.dst, args.every, args.max_frames, args.overwrite).items():
        print(f"{number} frames in {args.dst / 'JPEGImages' / name}")


def extract_frames(
    videos: Sequence[Path], destination: Path, every: int = 1, max_frames: int | None = None, overwrite: bool = False
) -> dict[str, int]:
    """Write ``JPEGImages/<video>/00000.jpg``, JPEG of quality 95, rotated as the video file states.

    The name of a frame is its number in the video, so that other frames can be added later. A folder of frames is
    written under a temporary name and then renamed, so it is complete or missing.

    Args:
        videos: Files that OpenCV's FFmpeg reads, with unique names.
        destination: Folder in which ``JPEGImages/`` is made.
        every: Keep every n-th frame: 0, n, 2n, ...
        max_frames: Largest number of frames from a video.
        overwrite: Replace the folders of an earlier run.

    Returns:
        Number of frames by name of the video.

    Raises:
        DataError: A file does not exist, is not a video or has no frames; a folder exists or cannot be written.
        ConfigError: ``every`` or ``max_frames`` is below 1, or two videos have one name.
    """
    if every < 1 or (max_frames is not None and max_frames < 1):
        raise ConfigError(f"frames: every={every} and max_frames={max_frames} must be at least 1")
    folders = {video: destination / "JPEGImages" / video.stem for video in videos}
    twice = [stem for stem, number in Counter(video.stem for video in folders).items() if number > 1]
    if twice:
        raise ConfigError(f"frames: two videos are called {twice[0]}: rename one, their frames would share a folder")
    for video, folder in folders.items():
        _open(video).release()
        if folder.exists() and not overwrite:
            raise DataError(f"frames: {folder} exists: name another folder, or replace it with --overwrite")
    return {video.stem: _extract(video, folder, every, max_frames) for video, folder in folders.items()}


def _open(video: Path) -> cv2.VideoCapture:
    if not video.is_file():
        what = "is a folder" if video.is_dir() else "is no regular file" if video.exists() else "does not exist"
        raise DataError(f"frames: {video} {what}: name a video file")
    if not is_text_name(str(video)):
        raise DataError(f"frames: {video} has a name that is not UTF-8, which OpenCV cannot open: rename it")
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    if not capture.isOpened() or not capture.grab():
        capture.release()
        raise DataError(
            f"frames: {video} ({video.stat().st_size:,} bytes) is not a video that OpenCV's FFmpeg reads: copy it "
            "again, or convert it to mp4 with H.264"
        )
    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
    return capture


def _extract(video: Path, folder: Path, every: int, max_frames: int | None) -> int:
    capture = _open(video)
    written = number = 0
    try:
        with replacing_folder(folder) as partial:
            while (max_frames is None or written < max_frames) and capture.grab():
                if number % every == 0:
                    decoded, frame = capture.retrieve()
                    if not decoded:
                        raise DataError(f"frames: {video}: frame {number} cannot be decoded: copy the video again")
                    content = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
                    (partial / f"{number:05d}.jpg").write_bytes(content)
                    written += 1
                number += 1
    except OSError as error:
        raise DataError(f"frames: {folder} cannot be written: {error.strerror or error}") from error
    finally:
        capture.release()
    return written
