"""Read every file of a dataset, and compare the dataset with the published one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from samplug.imaging.listing import collected_notes
from samplug.registry import DATASETS
from samplug.utils.errors import DataError

if TYPE_CHECKING:
    from samplug.datasets.base import CheckedDataset


@dataclass
class FileCheck:
    """Result of reading every file of a dataset.

    Attributes:
        title: Name and summary, as in the log of a training run.
        problems: Reasons why files cannot be used, and differences from the published dataset.
        left_out: Files that are left out because the config says ``on_error='skip'``, with the reasons.
        remarks: Suspicious files to look at.
        used: Number of usable samples.
    """

    title: str
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    used: int = 0


def check_files(settings: Mapping[str, Any]) -> FileCheck:
    """Build a :class:`~samplug.datasets.base.CheckedDataset` from its config without pipeline, and read every file.

    Only files of the selected part are read; files without a partner are reported for the whole folder. Files that
    cannot be used are problems, unless the config leaves them out (``on_error='skip'``).
    """
    skips = settings.get("on_error") == "skip"
    settings = {key: value for key, value in settings.items() if key != "pipeline"}
    settings |= dict(check="all", on_error="skip", lazy_init=True)
    dataset: CheckedDataset = DATASETS.build(settings)
    result = FileCheck(dataset.name)
    try:
        with collected_notes() as notes:
            dataset.full_init()
    except DataError as error:
        result.problems.append(str(error).removeprefix("data: "))
        return result
    result.title += f": {dataset.summary()}"
    result.used = dataset.used
    result.problems = _differences(dataset)
    unusable = [f"{name}: {problem}" for name, problem in dataset.skipped.items()]
    if skips and unusable:
        result.title += f"; {len(unusable)} problems, left out (on_error='skip')"
    (result.left_out if skips else result.problems).extend(unusable)
    result.remarks = [note.removeprefix("data: ") for note in notes] + dataset.remarks()
    return result


def _differences(dataset: "CheckedDataset") -> list[str]:
    """Compare the number and the sizes of the images with those of the published dataset."""
    lines = []
    expected = dataset.published
    if "images" in expected and expected["images"] != dataset.found:
        lines.append(f"the published set has {expected['images']} images, {dataset.found} {dataset.ITEMS} are here")
    if "size" in expected:
        sizes = Counter((fact.width, fact.height) for fact in dataset.facts.values() if not fact.error)
        del sizes[tuple(expected["size"])]
        if sizes:
            width, height = expected["size"]
            found = ", ".join(f"{number} of {w}x{h}" for (w, h), number in list(sizes.items())[:3])
            lines.append(f"published images are {width}x{height}; {found} are here")
    return lines
