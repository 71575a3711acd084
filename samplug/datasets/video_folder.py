"""Dataset of video frames with label maps, in the layout of DAVIS, SA-V and MOSE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samplug.datasets.instance_seg import AnnotatedFile, InstanceSegDataset, Size, size_error
from samplug.datasets.pairing import read_lines
from samplug.imaging.files import read_mask
from samplug.imaging.listing import list_files, walk
from samplug.registry import DATASETS
from samplug.utils.errors import DataError
from samplug.utils.rle import RLE, from_labels

_SUFFIX = ".png"  # lossless; JPEG would surround every object with values that nobody drew


@DATASETS.register_module()
class VideoFolderDataset(InstanceSegDataset):
    """Frames ``JPEGImages/<video>/00000.jpg`` with label maps ``Annotations/<video>/00000.png``.

    Each frame is one sample. Every value of a map except 0 is an object: a grey value, or a palette index if the file
    has a palette; a mask of 0 and 255 is one object. With subfolders, ``Annotations/<video>/<object>/00000.png``
    (SA-V), each file is one object: its pixels that are not 0. Frames without an annotation are left out and counted in
    ``unannotated``. ``part`` puts all frames of a video into one part.

    Args:
        data_root: Folder that contains images and annotations.
        image_dir: Folder of videos under ``data_root``, each a folder of frames.
        ann_dir: Folder of annotations under ``data_root``.
        ann_file: Text file under ``data_root`` that lists the videos of the dataset, one a line; None uses all folders
            of ``image_dir``.
        ignore_values: Values of label maps that are not objects, such as (255,) for undecided borders.
        **kwargs: ``max_objects``, ``min_area``, ``max_area`` and the other arguments of :class:`InstanceSegDataset`.

    Raises:
        ConfigError: An option has a value that is not listed above.
        DataError: Folders are missing or empty, a video has no annotations or the reverse, an annotation has no frame,
            a file is broken, or a map has colours or another size than its frame.
    """

    def __init__(
        self,
        data_root: str,
        image_dir: str = "JPEGImages",
        ann_dir: str = "Annotations",
        ann_file: str | None = None,
        ignore_values: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        root = Path(data_root).expanduser()
        self.image_dir, self.ann_dir = root / image_dir, root / ann_dir
        self.ignore_values = tuple(ignore_values)
        self.unannotated = 0
        super().__init__(root, (self.image_dir, self.ann_dir), ann_file=ann_file or "", **kwargs)

    def describe(self) -> str:
        left_out = f"; {self.unannotated:,} frames without annotation left out" if self.unannotated else ""
        return f"{super().describe()}{left_out}"

    def _find(self) -> tuple[list[AnnotatedFile], dict[str, str]]:
        files: list[AnnotatedFile] = []
        problems: dict[str, str] = {}
        self.unannotated = 0
        present, annotated = (_subfolders(folder) for folder in (self.image_dir, self.ann_dir))
        wanted = sorted(present)
        if self.ann_file:
            wanted = self._listed(present, problems)
        else:
            for video in sorted(annotated - present):
                problems[str(self.ann_dir / video)] = f"has no frames, {self.image_dir / video}: add them, or remove it"
        for video in wanted:
            if video not in annotated:
                problems[str(self.image_dir / video)] = (
                    f"has no annotations, {self.ann_dir / video}: add them, remove the video, or list the others in "
                    "ann_file"
                )
                continue
            frames, wrong = list_files(self.image_dir / video)
            by_frame, more = self._annotations(video)
            problems |= wrong | more
            for frame in sorted(by_frame.keys() - frames.keys()):
                problems[str(by_frame[frame][0])] = (
                    f"has no frame {frame} in {self.image_dir / video}: add or remove it"
                )
            self.unannotated += len(frames.keys() - by_frame.keys())
            for frame in sorted(frames.keys() & by_frame.keys()):
                file = AnnotatedFile(f"{video}/{frame}", frames[frame], tuple(by_frame[frame]))
                if problems.keys().isdisjoint(map(str, file.files)):
                    files.append(file)
        if not files and not problems:
            raise DataError(
                f"data: {self.image_dir} contains no folder of frames that are annotated in {self.ann_dir}: set "
                "image_dir and ann_dir"
            )
        return files, problems

    def _listed(self, present: set[str], problems: dict[str, str]) -> list[str]:
        """Read the list of videos, sorted; lines that name a missing video, or one twice, become problems."""
        listed: set[str] = set()
        for number, video in enumerate(read_lines(Path(self.ann_file), "video"), start=1):
            where = f"{self.ann_file}, entry {number}"
            if video not in present:
                problems[where] = f"there is no folder {video} in {self.image_dir}: correct the list or add the video"
            elif video in listed:
                problems[where] = f"{video} is listed twice: remove one line"
            listed.add(video)
        return sorted(listed & present)

    def _annotations(self, video: str) -> tuple[dict[str, list[Path]], dict[str, str]]:
        """Find the annotation files by frame, and the problems of the folder."""
        folder = self.ann_dir / video
        objects = sorted(_subfolders(folder))
        maps, problems = list_files(folder, _SUFFIX)
        if objects and maps:
            problems[str(folder)] = "contains label maps and folders of objects: remove one kind"
            return {}, problems
        by_frame = {frame: [path] for frame, path in maps.items()}
        for name in objects:
            masks, more = list_files(folder / name, _SUFFIX)
            problems |= more
            for frame, path in masks.items():
                by_frame.setdefault(frame, []).append(path)
        return by_frame, problems

    def _group(self, item: AnnotatedFile) -> str:
        return item.name.partition("/")[0]

    def _settings(self) -> list[Any]:
        return [*super()._settings(), self.ignore_values]

    def read_masks(self, annotations: Sequence[Path], size: Size, image: Path) -> list[RLE]:
        masks: list[RLE] = []
        for path in annotations:
            labels = read_mask(path)
            if labels.ndim == 3:
                raise DataError(f"data: {path} contains colours: a label map has grey values or a palette; convert it")
            if labels.shape != size:
                raise size_error((labels.shape[0], labels.shape[1]), size, path, image)
            of_one_object = path.parent.parent != self.ann_dir
            labels = labels > 0 if of_one_object else np.where(np.isin(labels, self.ignore_values), 0, labels)
            masks += from_labels(labels).values()
        return masks


def _subfolders(folder: Path) -> set[str]:
    return {entry.name for entry in walk(folder) if entry.is_dir()}
