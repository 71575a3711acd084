"""Select the regions to draw, and check that all of them can be drawn."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from rich.console import Console
from rich.progress import track

from samplug.converters.annotations import AnnotatedImage, Annotations, Problem, Region
from samplug.converters.text_files import naming
from samplug.imaging.decoding import decode
from samplug.imaging.files import IMAGE_SUFFIXES, read_image
from samplug.imaging.limits import UndecodableError
from samplug.imaging.shapes import Size
from samplug.utils.errors import ConfigError, DataError, check_choice, did_you_mean
from samplug.utils.text import listed, shorten

Role = Literal["foreground", "ignored"]
Crowd = Literal["ignore", "foreground", "skip", "auto"]

# Reasons for leaving out objects.
CROWD, NOT_CHOSEN, IN_BAD_IMAGES = "crowd", "class_not_chosen", "in_images_left_out"

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class Selection:
    """Selection of the objects to draw as foreground or as ignored pixels.

    Attributes:
        classes: Names of the foreground classes; None selects all except ``ignore_classes``.
        ignore_classes: Names of classes whose pixels are ignored (neither foreground nor background).
        crowd: Handling of crowd areas of foreground classes: ``'ignore'`` their pixels, draw them as ``'foreground'``,
            or ``'skip'`` them. ``'auto'`` means ``'ignore'``, with an error if all objects of COCO annotations are
            crowd areas, since some tools set ``iscrowd`` for every mask.

    Raises:
        ConfigError: ``crowd`` is not one of these values.
    """

    classes: Sequence[str] | None = None
    ignore_classes: Sequence[str] = ()
    crowd: Crowd = "auto"

    def __post_init__(self) -> None:
        check_choice("annotations", "crowd", self.crowd, get_args(Crowd))

    def role(self, region: Region) -> Role | None:
        """Return the role in which a region is drawn; None if it is not drawn."""
        if region.category in self.ignore_classes:
            return "ignored"
        if self.classes is not None and region.category not in self.classes:
            return None
        if region.crowd and self.crowd != "foreground":
            return None if self.crowd == "skip" else "ignored"
        return "foreground"

    def left_out(self, regions: Iterable[Region]) -> Counter[str]:
        """Count the regions that are not drawn, by reason."""
        chosen = self.classes
        return Counter(
            NOT_CHOSEN if chosen is not None and region.category not in chosen else CROWD
            for region in regions
            if self.role(region) is None
        )

    def check(self, known: frozenset[str]) -> None:
        """Compare the selected names with the known classes.

        Raises:
            ConfigError: A name is unknown, or in both lists.
        """
        foreground, ignored = set(self.classes or ()), set(self.ignore_classes)
        if unknown := sorted((foreground | ignored) - known):
            raise ConfigError(
                f"annotations: no class is called {listed(unknown, 5)}{did_you_mean(unknown[0], known)}; known "
                f"classes: {listed((name[:60] for name in sorted(known)), 20)}"
            )
        if both := sorted(foreground & ignored):
            raise ConfigError(f"annotations: {listed(both, 5)} cannot be foreground and ignored at once")


@dataclass(frozen=True)
class Drawing:
    """An image that passed all checks, its (height, width), and the regions to draw on its mask with their roles."""

    image: AnnotatedImage
    size: Size
    regions: list[tuple[Region, Role]]


def check_images(annotations: Annotations, selection: Selection) -> tuple[list[Drawing], list[Problem]]:
    """Decode every image and check its selected regions.

    Returns:
        The images without problems, and all problems of the source. An image with any problem is left out as a whole: a
        mask that lacks one of its objects would be wrong.
    """
    images = annotations.images
    clashes = _clashes(images)
    drawings: list[Drawing] = []
    problems = list(annotations.problems)
    checked = in_parallel(lambda image: _check(image, selection), images, "checking")
    for index, (image, outcome) in enumerate(zip(images, checked, strict=True)):
        found = [*([clashes[index]] if index in clashes else []), *([] if isinstance(outcome, Drawing) else outcome)]
        problems += (Problem(str(image.source), what) for what in found)
        if isinstance(outcome, Drawing) and not found:
            drawings.append(outcome)
    return drawings, problems


def in_parallel(work: Callable[[_In], _Out], items: Sequence[_In], doing: str) -> Iterator[_Out]:
    """Map ``work`` over items in threads, in order, with a progress bar on a terminal.

    Threads suffice: decoding, encoding and copying release the interpreter's lock.
    """
    console = Console(stderr=True)
    pool = ThreadPoolExecutor()
    try:
        results = pool.map(work, items)
        yield from track(results, doing, total=len(items), console=console, disable=not console.is_terminal)
    finally:
        pool.shutdown(cancel_futures=True)


def _clashes(images: Sequence[AnnotatedImage]) -> dict[int, str]:
    """Find images whose mask or JSON files would have the same name. Return image index -> problem."""
    by_mask = defaultdict(list)
    for index, image in enumerate(images):
        by_mask[image.mask_name].append(index)
    problems = {}
    for same in by_mask.values():
        for index in same if len(same) > 1 else ():
            other = same[1] if index == same[0] else same[0]
            problems[index] = (
                "is annotated twice: put all its objects into one entry"
                if images[other].name == images[index].name
                else f"differs only in its suffix from {images[other].source}: rename one"
            )
    return problems


def _check(image: AnnotatedImage, selection: Selection) -> Drawing | list[str]:
    """Decode an image and check its regions. Return what to draw, or the reasons why it cannot be used."""
    try:
        with naming(image.source):
            return _checked(image, selection)
    except DataError as error:
        return [*image.problems, str(error).removeprefix(f"data: {image.source} ")]


def _checked(image: AnnotatedImage, selection: Selection) -> Drawing | list[str]:
    found = list(image.problems)
    if image.name.suffix.lower() not in IMAGE_SUFFIXES:
        found.append(f"has the name {image.name.name}, not one of {', '.join(sorted(IMAGE_SUFFIXES))}: convert it")
    try:
        size = _size(image)
    except DataError as error:
        return [*found, str(error).removeprefix(f"data: {image.source} ")]
    if image.stated_size not in (None, size):
        height, width = image.stated_size  # type: ignore[misc]
        rotated = (
            "; the sides are swapped: rotated after it was annotated, or by an EXIF entry that the annotator's tool "
            "ignored"
            if (width, height) == size
            else ""
        )
        found.append(f"is {size[1]}x{size[0]} (width x height), its annotation is for {width}x{height}{rotated}")
        return found  # checks of the points would only repeat it
    regions = [(region, role) for region in image.regions if (role := selection.role(region))]
    found += (f"{region.label} {problem}" for region, _ in regions if (problem := _problem(region, size)))
    return found or Drawing(image, size, regions)


def _problem(region: Region, size: Size) -> str | None:
    """Return why a region cannot be drawn, or an error of the check itself."""
    try:
        return region.shape.problem(size)
    except (ArithmeticError, RecursionError, TypeError, ValueError) as error:  # numbers with 400 digits, for example
        return f"cannot be drawn: {shorten(error)}"


def _size(image: AnnotatedImage) -> Size:
    """Decode the whole image, so that it can be read in training; return (height, width) after EXIF rotation."""
    if not image.embedded:
        height, width = read_image(image.source).shape[:2]
        return height, width
    try:
        height, width = decode(image.embedded_bytes()).pixels.shape[:2]
    except UndecodableError as error:
        raise DataError(f"data: {image.source} embeds imageData that is not an image: it {error}") from error
    return height, width
