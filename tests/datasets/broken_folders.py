"""A table of broken folders: how each is made, and what its message must say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.datasets.broken import CONTENTS, NAMES, SHAPE, VICTIM, mask, picture, save

OTHERS = [name for name in NAMES if name != VICTIM]
IMAGE, MASK = f"images/{VICTIM}.jpg", f"masks/{VICTIM}.png"
BINARY = dict(mask_values="0/255")


@dataclass(frozen=True)
class Case:
    """One defect.

    Attributes:
        damage: Brings it into the sound set whose folder it is given.
        names: What the message must name: ends of paths.
        says: What the message must match.
        options: Of the dataset.
        left: Pairs that load with ``on_error='skip'``; None: nothing to go on with, the same error.
    """

    damage: Callable[[Path], Any]
    names: Sequence[str]
    says: str
    options: Mapping[str, Any] = field(default_factory=dict)
    left: Sequence[str] | None = tuple(OTHERS)


def replace(folder: str, suffix: str, content: bytes) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        next((root / folder).glob(f"{VICTIM}.*")).unlink()
        (root / folder / f"{VICTIM}{suffix}").write_bytes(content)

    return damage


def new_mask(values: np.ndarray | Image.Image, **options: Any) -> Callable[[Path], None]:
    return lambda root: save(root / MASK, values, **options)


def rename(old: str, new: str) -> Callable[[Path], None]:
    return lambda root: (root / old).rename(root / new)


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def every_mask(change: Callable[[np.ndarray], np.ndarray], victim: np.ndarray) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        for index, name in enumerate(NAMES):
            save(root / "masks" / f"{name}.png", victim if name == VICTIM else change(mask(index)))

    return damage


def palette(values: np.ndarray, colours: Sequence[int]) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(colours)
    return image


def dangling(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(root / "gone" / "away.png")

    return damage


def folder_of_that_name(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return damage


def to_subfolders(root: Path) -> None:
    for part in ("images", "masks"):
        (root / part).rename(root / "old")
        (root / part).mkdir()
        (root / "old").rename(root / part / "sequence1")


def emptied(part: str) -> Callable[[Path], None]:
    return lambda root: [path.unlink() for path in (root / part).iterdir()]


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


LABELS = (mask() // 255) * 3 + np.eye(*SHAPE, dtype=np.uint8)
COLOURS = np.dstack([mask(), mask()[::-1], mask() * 0])
WHITE = np.dstack([mask(), mask() * 0, mask() * 0])
WHITE[20:35, 30:45] = 255
ALPHA = np.dstack([np.zeros((*SHAPE, 3), np.uint8), mask()])


def red(values: np.ndarray) -> np.ndarray:
    return np.dstack([values, values * 0, values * 0])


LISTS = dict(mask_values=dict(foreground=[255], background=[0]))
LISTED = dict(ann_file="pairs.txt")


def pairs_list(*lines: str) -> Callable[[Path], None]:
    """A list of the other pairs, and these lines."""
    return write("pairs.txt", "\n".join([*(f"images/{name}.jpg\tmasks/{name}.png" for name in OTHERS), *lines]))


CASES = {
    **{
        f"image-{name}": Case(replace("images", c.suffix, c.content), [f"images/{VICTIM}{c.suffix}"], c.says)
        for name, c in CONTENTS.items()
    },
    **{
        f"mask-{name}": Case(replace("masks", c.suffix, c.content), [f"masks/{VICTIM}{c.suffix}"], c.says)
        for name, c in CONTENTS.items()
    },
    # Masks that can be read, of the wrong values.
    "mask-01-among-255": Case(new_mask(mask() // 255), [MASK], "contains 0/1.*set mask_values or fix", BINARY),
    "mask-255-among-01": Case(
        every_mask(lambda m: m // 255, mask()), [MASK], "up to 255.*0/1.*set mask_values or fix", dict(mask_values="0/1")
    ),
    "mask-label-map": Case(new_mask(LABELS), [MASK], r"(?s)holds .*3 \(.*nothing brighter.*mask_values=dict", BINARY),
    "mask-label-map-01": Case(
        every_mask(lambda m: m // 255, LABELS), [MASK], "up to 4.*set mask_values", dict(mask_values="0/1")
    ),
    "mask-colours": Case(new_mask(COLOURS), [MASK], "holds colours.*use mask_values='red'", BINARY),
    "mask-photograph": Case(new_mask(picture()), [MASK], "holds colours.*mask_values", BINARY),
    "mask-white-in-colours": Case(
        every_mask(red, WHITE), [MASK], r"areas of another colour.*\[255, 255, 255\].*list its colours", dict(mask_values="red")
    ),
    "mask-grey-in-colours": Case(
        every_mask(red, mask()), [MASK], "holds grey values.*use mask_values='0/255'", dict(mask_values="red")
    ),
    "mask-palette-labels": Case(
        new_mask(palette(LABELS, [0, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0, 128])), [MASK], "holds.*mask_values=dict", BINARY
    ),
    "mask-palette-01": Case(new_mask(palette(mask() // 255, [0, 0, 0, 255, 0, 0])), [MASK], "contains 0/1.*mask_values", BINARY),
    "mask-in-alpha": Case(new_mask(ALPHA), [MASK], "alpha channel; save that channel as a grey PNG", BINARY),
    "mask-16-bit-labels": Case(new_mask(LABELS.astype(np.uint16)), [MASK], "16-bit mask.*mask_values=dict", BINARY),
    "mask-16-bit-255": Case(new_mask(mask().astype(np.uint16)), [MASK], r"16-bit mask.*255 \(.*mask_values=dict", BINARY),
    "mask-unlisted-value": Case(
        new_mask(np.maximum(mask(), np.eye(*SHAPE, dtype=np.uint8) * 7)), [MASK], r"contains 7 \(.*add it to foreground", LISTS
    ),
    "mask-colours-by-lists": Case(new_mask(COLOURS), [MASK], "holds colours.*not grey values.*list them", LISTS),
    "mask-jpeg-by-lists": Case(
        lambda root: (
            (root / MASK).unlink(), save(root / "masks" / f"{VICTIM}.jpg", mask(), quality=60)
        ),
        [f"masks/{VICTIM}.jpg"], "mask_values does not list: add it", LISTS,
    ),
    "mask-probability-map": Case(new_mask(picture()[..., 0]), [MASK], "grey.*(mask_values|save)", BINARY),
    "mask-other-size": Case(
        new_mask(mask()[:-1]), [MASK, IMAGE], "is 48x35, its image .* is 48x36.*size_mismatch='resize_mask'"
    ),
    "mask-not-turned": Case(
        lambda root: save(root / IMAGE, picture(), exif=exif(6)), [MASK, IMAGE], "is 48x36.*is 36x48.*EXIF.*save both upright"
    ),
    # Pairing.
    "no-mask": Case(lambda root: (root / MASK).unlink(), [IMAGE], "has no mask of the same name: add it, or remove"),
    "no-image": Case(lambda root: (root / IMAGE).unlink(), [MASK], "has no image of the same name: add it, or remove"),
    "stray-image": Case(
        lambda root: save(root / "images/extra.jpg", picture()), ["images/extra.jpg"], "no mask.*remove", left=NAMES
    ),
    "stray-mask": Case(lambda root: save(root / "masks/extra.png", mask()), ["masks/extra.png"], "no image.*remove", left=NAMES),
    "two-images": Case(
        lambda root: save(root / f"images/{VICTIM}.png", picture()), [f"images/{VICTIM}.png", f"{VICTIM}.jpg"], "rename or remove"
    ),
    "two-masks": Case(
        lambda root: save(root / f"masks/{VICTIM}.bmp", mask()), [f"{VICTIM}.bmp", f"{VICTIM}.png"], "rename or remove"
    ),
    "name-in-capitals": Case(rename(IMAGE, "images/P3.JPG"), ["images/P3.JPG", MASK], "'p3.png' does not count.*rename.*'P3.JPG' does not count"),
    "blank-before-suffix": Case(rename(IMAGE, f"images/{VICTIM} .jpg"), [f"images/{VICTIM} .jpg", MASK], "rename"),
    "blank-after-suffix": Case(rename(IMAGE, f"{IMAGE} "), [f"'{VICTIM}.jpg '", MASK], "rename"),
    "double-suffix": Case(rename(MASK, f"{IMAGE.replace('images', 'masks')}.png"), [f"{VICTIM}.jpg.png", IMAGE], "rename"),
    "mask-suffix-not-said": Case(rename(MASK, f"masks/{VICTIM}_mask.png"), [f"masks/{VICTIM}_mask.png", IMAGE], "rename"),
    "unread-suffix": Case(rename(IMAGE, f"images/{VICTIM}.jp2"), [f"'{VICTIM}.jp2'", MASK], "(convert|rename)"),
    "composed-letters": Case(
        lambda root: (rename(IMAGE, "images/\u00e9.jpg")(root), rename(MASK, "masks/e\u0301.png")(root)),
        ["images/\u00e9.jpg", "masks/e\u0301.png"], "rename",
    ),
    "folder-called-image": Case(folder_of_that_name(IMAGE), [IMAGE], "folder.*(rename|remove)"),
    "folder-called-mask": Case(folder_of_that_name(MASK), [MASK], "folder.*(rename|remove)"),
    "dangling-image": Case(dangling(IMAGE), [IMAGE], "link.*(remove|restore)"),
    "dangling-mask": Case(dangling(MASK), [MASK], "link.*(remove|restore)"),
    "subfolders": Case(to_subfolders, ["images"], "contains no images.*recursive=True", left=None),
    "one-subfolder": Case(
        lambda root: [
            (save(root / f"images/more/{n}.jpg", picture()), save(root / f"masks/more/{n}.png", mask())) for n in "ab"
        ],
        ["images/more", "masks/more"], "not searched.*set recursive=True", left=NAMES,
    ),
    "no-images": Case(emptied("images"), ["images"], "contains no images.*(add|set)", left=None),
    "no-masks": Case(emptied("masks"), ["masks"], "contains no images.*(add|set)", left=None),
    "images-missing": Case(rename("images", "imgs"), ["/images"], "does not exist.*imgs, masks.*(set|correct)", left=None),
    "masks-missing": Case(rename("masks", "gt"), ["/masks"], "does not exist.*gt, images.*(set|correct)", left=None),
    "swapped": Case(
        lambda root: None, ["images/p0.jpg"], "holds colours.*swapped", dict(image_dir="masks", mask_dir="images"), None
    ),
    "swapped-grey": Case(
        lambda root: [save(root / f"images/{name}.jpg", picture()[..., 0]) for name in NAMES],
        ["images/p0.jpg"], "swapped", dict(image_dir="masks", mask_dir="images"), None,
    ),
    "one-folder": Case(lambda root: None, ["images"], "set img_suffix and seg_map_suffix", dict(mask_dir="images"), None),
    # Lists.
    "list-missing": Case(lambda root: None, ["pairs.txt"], "does not exist.*set ann_file", LISTED, None),
    "list-is-folder": Case(lambda root: (root / "pairs.txt").mkdir(), ["pairs.txt"], "folder.*set ann_file", LISTED, None),
    "list-empty": Case(write("pairs.txt", "# none\n\n"), ["pairs.txt"], "is empty: it needs a line", LISTED, None),
    "list-no-text": Case(write("pairs.txt", b"\xff\xfea\0"), ["pairs.txt"], "not UTF-8 text.*save", LISTED, None),
    "list-three-parts": Case(pairs_list("a b c"), ["pairs.txt"], "8: 'a b c' has 3 parts: write", LISTED),
    "list-no-image": Case(pairs_list(f",{MASK}"), ["pairs.txt"], "8: .* has 1 parts: write", LISTED),
    "list-unknown-name": Case(pairs_list("p99"), ["pairs.txt"], "8: there is no file p99 .*correct the list", LISTED),
    "list-twice": Case(pairs_list("p5"), ["pairs.txt"], "8: p5 is listed twice: remove", LISTED),
    "list-no-such-mask": Case(
        pairs_list(f"{IMAGE} masks/x.png"), ["pairs.txt", "masks/x.png"], "8: there is no file.*correct the list", LISTED
    ),
    "list-names-broken": Case(
        lambda root: (pairs_list(f"{IMAGE} {MASK}")(root), (root / MASK).write_bytes(b"")), [MASK], "empty.*remove", LISTED
    ),
    # Settings.
    "rule-unknown": Case(lambda root: None, ["'1/0'"], "is not '0/255', '0/1'", dict(mask_values="1/0"), None),
    "rule-empty": Case(lambda root: None, ["background"], "give foreground", dict(mask_values=dict(background=[0])), None),
    "rule-twice": Case(lambda root: None, ["mask_values"], "lists 0 twice", dict(mask_values=dict(foreground=[0])), None),
    "rule-text": Case(
        lambda root: None, ["'255'"], "is not a whole number", dict(mask_values=dict(foreground=["255"])), None
    ),
    "include-none": Case(lambda root: None, ["images", "'x*'"], "none of the 8 images.*change include", dict(include="x*"), None),
    "suffix-none": Case(
        lambda root: None, ["images", ".JPEG"], "no images that end in .JPEG: .*set image_dir or img_suffix", dict(img_suffix=".JPEG"), None
    ),
    "part-empty": Case(
        lambda root: None, ["'test'", "images"], "is empty: set test_fraction", dict(part="test"), None
    ),
    "val-fraction": Case(
        lambda root: None, ["val_fraction=20"], "between 0 and 1", dict(part="val", val_fraction=20), None
    ),
    "check-unknown": Case(lambda root: None, ["check='none'"], "not one of 'sample', 'all'", dict(check="none"), None),
}  # fmt: skip
