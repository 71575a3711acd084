"""Replace the textures of objects, in several degrees, in images with masks.

Write STEM_textured_degree0_3.jpg and .json (SA-1B's layout) for each image and degree; degree 0 is the image itself.
Textures are mixed in pixel space; TextureSAM's published images were made by a neural method (Compositional Neural
Textures).
"""

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from samplug.converters.arguments import add_overwrite
from samplug.converters.text_files import write_json
from samplug.converters.writing import check_destination
from samplug.datasets.texturing import (
    Keep,
    apply_surfaces,
    check_options,
    draw_surfaces,
    texture_source,
)
from samplug.imaging.files import read_image
from samplug.utils.errors import ConfigError
from samplug.utils.files import read_json, replace_file, write_text
from samplug.utils.rle import decode_rle

MILD = (0.0, 0.1, 0.2, 0.3)
FULL = tuple(round(step / 10, 1) for step in range(11))
SETS = {"mild": MILD, "full": FULL}
_QUALITY = 95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("src", type=Path, help="folder of images, each with a JSON file beside it (see to-sa1b)")
    parser.add_argument("dst", type=Path, help="folder for the result")
    parser.add_argument(
        "--textures", type=Path, metavar="DIR", help="photographs, e.g. dtd/images (default: generated textures)"
    )
    parser.add_argument(
        "--set",
        choices=list(SETS),
        default="full",
        help="published degrees: mild is 0.0 to 0.3, full 0.0 to 1.0 (default)",
    )
    parser.add_argument("--degrees", type=float, nargs="+", metavar="D", help="degrees in [0, 1] instead of --set")
    parser.add_argument("--no-original", action="store_true", help="do not write the original images")
    parser.add_argument("--share", type=float, default=1.0, help="share of objects that get a texture (default: 1)")
    parser.add_argument(
        "--keep",
        choices=["nothing", "luminance", "shading"],
        default="nothing",
        help="property of the object's surface to keep",
    )
    parser.add_argument("--feather", type=float, default=2.0, help="width of the blended border in pixels (default: 2)")
    parser.add_argument("--seed", type=int, default=0)
    add_overwrite(parser)


def execute(args: argparse.Namespace) -> None:
    summary = texture_augment(
        args.src, args.dst, args.textures, args.degrees or SETS[args.set], not args.no_original, args.share, args.keep,
        args.feather, args.seed, args.overwrite,
    )  # fmt: skip
    print(
        f"{summary['images']} images with {summary['objects']} objects in {len(summary['degrees'])} degrees in "
        f"{args.dst}: textures mixed in pixel space, not by TextureSAM's neural method"
    )


def texture_augment(
    source: Path,
    destination: Path,
    textures: Path | None = None,
    degrees: Sequence[float] = FULL,
    original: bool = True,
    share: float = 1.0,
    keep: Keep = "nothing",
    feather: float = 2.0,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write each image in all degrees with a JSON file of its objects, and ``summary.json``.

    An object has the same texture in all degrees; the texture depends only on ``seed``, the name of the image and the
    index of the object. File names follow TextureSAM: ``STEM_textured_degree0_3.jpg``.

    Args:
        source: Folder in SA-1B's layout, see :class:`samplug.datasets.SA1BDataset`.
        destination: Folder to write; created if it does not exist.
        textures: Folder of photographs; None: generated textures.
        degrees: Weights of the textures in [0, 1].
        original: Also write the original images.
        share: Probability that an object gets a texture.
        keep: See :func:`samplug.datasets.texturing.make_surface`.
        feather: See :func:`samplug.datasets.texturing.make_surface`.
        seed: Random seed.
        overwrite: Replace files of an earlier run.

    Returns:
        The content of ``summary.json``.

    Raises:
        ConfigError: A value is out of range.
        DataError: A source file cannot be used, or a file to write exists already.
    """
    from samplug.datasets.sa1b import SA1BDataset

    if wrong := [degree for degree in degrees if not 0 <= degree <= 1]:
        raise ConfigError(f"texture-augment: degrees {wrong} are not in [0, 1]")
    check_options("texture-augment", share, keep, feather)
    texturing = texture_source(textures)
    dataset = SA1BDataset(str(source), pipeline=[], check="all")
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    names = {degree: f"_textured_degree{_number(degree)}" for degree in degrees}
    endings = [*names.values(), *([""] if original else [])]
    stems = [Path(sample["img_id"]) for sample in samples]
    planned = [
        destination / stem.with_name(stem.name + ending + suffix)
        for stem in stems
        for ending in endings
        for suffix in (".jpg", ".json")
    ]
    read = [Path(sample["img_path"]) for sample in samples]
    summary_file = destination / "summary.json"
    check_destination(
        "texture-augment", [*planned, summary_file], read, destination, [*planned, summary_file], overwrite
    )
    objects = 0
    for stem, sample in zip(stems, samples, strict=True):
        image = read_image(sample["img_path"])
        masks = [decode_rle(instance["mask"]) for instance in sample["instances"]]
        objects += len(masks)
        rngs = [np.random.default_rng((seed, zlib.crc32(str(stem).encode()), index)) for index in range(len(masks))]
        surfaces = draw_surfaces(image, masks, texturing, rngs, share, keep, feather)
        annotations = read_json((source.expanduser() / stem).with_name(stem.name + ".json"))
        for degree, ending in names.items():
            _write(
                destination / stem.with_name(stem.name + ending), apply_surfaces(image, surfaces, degree), annotations
            )
        if original:
            _write(destination / stem, image, annotations)
    summary = dict(
        source=str(source), textures=str(textures) if textures else "generated", degrees=list(degrees),
        original=original, share=share, keep=keep, feather=feather, seed=seed, images=len(samples), objects=objects,
        method="textures mixed in pixel space; TextureSAM's images were made by Compositional Neural Textures",
    )  # fmt: skip
    write_text(summary_file, json.dumps(summary, indent=1) + "\n")
    return summary


def _number(degree: float) -> str:
    """Format a degree as in the published names, 0_3 for 0.3."""
    return (f"{degree:.1f}" if round(degree, 1) == degree else f"{degree:g}").replace(".", "_")


def _write(path: Path, image: np.ndarray, annotations: dict[str, Any]) -> None:
    """Write ``path``.jpg and ``path``.json; a dot in ``path`` is not treated as a suffix."""
    picture = path.with_name(path.name + ".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    replace_file(picture, lambda partial: partial.write_bytes(encoded.tobytes()))
    image_facts = {**(annotations.get("image") or {}), "file_name": picture.name}
    write_json(path.with_name(path.name + ".json"), {**annotations, "image": image_facts})
