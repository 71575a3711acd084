"""Render the picture of the README: stones on sand in low sun, and the prompts that samplug simulates for one of them.

``python docs/draw_scene.py`` writes docs/images/scene.jpg.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from samplug.models.prompts import center_click, tight_boxes
from samplug.visualization import compare_sheet, draw_overlay

_SIZE = (480, 480)
_SCALE = 2  # supersampling factor
_SUN = np.array([-0.62, -0.45, 0.52])
_STONES = 34
_COLOURS = ((0.34, 0.36, 0.40), (0.24, 0.25, 0.28), (0.30, 0.38, 0.50), (0.46, 0.50, 0.54), (0.22, 0.27, 0.38))  # BGR

Map = NDArray[np.float32]


def render(seed: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a picture (H, W, 3) BGR and the mask (H, W) of its largest stone."""
    draw = np.random.default_rng(seed)
    shape = (_SIZE[0] * _SCALE, _SIZE[1] * _SCALE)
    height = 5 * clouds(draw, shape, (160, 80, 40)) + 0.9 * clouds(draw, shape, (6, 3)) + 0.5 * grain(draw, shape)
    spots = 0.80 + 0.10 * clouds(draw, shape, (3, 60)) + 0.12 * grain(draw, shape)
    colour, target = np.array([0.47, 0.62, 0.74]) * spots[..., None], np.zeros(shape, bool)
    for index, (y, x, radius) in enumerate(places(draw, shape)):
        stone, inside = pebble(draw, shape, y, x, radius)
        base = np.array(_COLOURS[draw.integers(len(_COLOURS))])
        speckles = 1 + 0.10 * clouds(draw, shape, (24, 8)) + 0.13 * grain(draw, shape)
        if index % 3 == 0:  # veins
            speckles += 0.9 * np.exp(-((clouds(draw, shape, (110, 50)) / 0.05) ** 2)).astype(np.float32)
        height = np.where(inside, height + stone, height)
        colour = np.where(inside[..., None], base * speckles[..., None], colour)
        target = inside if index == 0 else target & ~inside
    picture = shade(height, colour)
    picture = cv2.resize(picture, _SIZE[::-1], interpolation=cv2.INTER_AREA) + draw.normal(0, 0.010, (*_SIZE, 3))
    mask = cv2.resize(target.astype(np.float32), _SIZE[::-1], interpolation=cv2.INTER_AREA) > 0.5
    return (picture.clip(0, 1) * 255).astype(np.uint8), mask


def clouds(draw: np.random.Generator, shape: tuple[int, int], scales: tuple[int, ...]) -> Map:
    """Return smooth noise with mean 0 and standard deviation 1; ``scales`` are lengths in pixels."""
    total: Any = 0
    for scale in scales:
        small = draw.normal(size=(shape[0] // scale + 3, shape[1] // scale + 3)).astype(np.float32)
        total = total + scale * cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / total.std()


def grain(draw: np.random.Generator, shape: tuple[int, int]) -> Map:
    """Return noise without spatial correlation."""
    return draw.normal(size=shape).astype(np.float32)


def places(draw: np.random.Generator, shape: tuple[int, int]) -> list[tuple[float, float, float]]:
    """Return (row, column, radius) of stones with little overlap; the first is the largest, near the centre."""
    found = [(shape[0] * 0.53, shape[1] * 0.47, shape[0] * 0.175)]
    for _ in range(4000):
        y, x = draw.uniform(0, shape[0]), draw.uniform(0, shape[1])
        radius = float(shape[0] * 0.022 * draw.pareto(1.6) + shape[0] * 0.02)
        radius = min(radius, shape[0] * 0.11)
        if all(np.hypot(y - other_y, x - other_x) > 0.95 * (radius + other) for other_y, other_x, other in found):
            found.append((y, x, radius))
        if len(found) == _STONES:
            break
    return found


def pebble(
    draw: np.random.Generator, shape: tuple[int, int], y: float, x: float, radius: float
) -> tuple[Map, NDArray[np.bool_]]:
    """Return the height map of a stone half sunk into the sand, and its mask."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn, flat = draw.uniform(0, np.pi), draw.uniform(0.68, 0.95)
    across = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    along = ((rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)) / flat
    angle = np.arctan2(along, across)
    outline: Any = 1
    for wave in (2, 3, 4, 5):
        outline = outline + draw.normal(0, 0.045) * np.cos(wave * angle + draw.uniform(0, 6))
    distance = np.hypot(across, along) / (radius * outline)
    bumps = 1 + 0.02 * clouds(draw, shape, (30, 12))
    return (
        radius * 0.62 * np.maximum(1 - distance**2.6, 0) ** 0.55 * bumps + 0.05 * radius,
        (distance < 1),
    )


def shade(height: Map, colour: NDArray[Any]) -> NDArray[np.float32]:
    """Shade a height map with sunlight, cast shadows and skylight."""
    sun = _SUN / np.linalg.norm(_SUN)
    dy, dx = np.gradient(cv2.GaussianBlur(height.astype(np.float32), (0, 0), 0.8))
    normal = np.dstack([-dx, -dy, np.ones_like(dx)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    direct = np.maximum(normal @ sun, 0)
    lit = np.ones_like(height, dtype=np.float32)
    step = sun[:2] / np.linalg.norm(sun[:2])
    slope = sun[2] / np.linalg.norm(sun[:2])
    for distance in range(2, 260, 2):
        move = np.float32([[1, 0, -step[0] * distance], [0, 1, -step[1] * distance]])
        toward = cv2.warpAffine(height.astype(np.float32), move, height.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        lit = np.minimum(lit, np.clip((height + slope * distance - toward) / (0.04 * distance) + 0.5, 0, 1))
    lit = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), 1.2)
    hollow = np.clip((cv2.GaussianBlur(height.astype(np.float32), (0, 0), 22) - height) / 34, 0, 0.55)
    sky = np.array([0.42, 0.34, 0.29]) * (1 - hollow)[..., None] * (0.6 + 0.4 * normal[..., 2:])
    light = np.array([0.98, 1.12, 1.25]) * (direct * lit)[..., None] * 1.15 + sky
    rows, columns = (np.linspace(-1, 1, side) for side in height.shape)
    vignette = 1 - 0.16 * (rows[:, None] ** 2 + columns[None] ** 2)
    return ((colour * light * vignette[..., None]).clip(0, None) ** 0.80).clip(0, 1).astype(np.float32)


def with_prompts(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the mask, the first click and the tight box of an object."""
    drawn = draw_overlay(picture, mask, mask)
    masks = torch.from_numpy(mask)[None, None]
    (x, y), (x0, y0, x1, y1) = center_click(masks)[0][0, 0].int().tolist(), tight_boxes(masks)[0].int().tolist()
    cv2.rectangle(drawn, (x0, y0), (x1, y1), (255, 255, 255), 2, cv2.LINE_AA)
    cv2.circle(drawn, (x, y), 9, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(drawn, (x, y), 7, (60, 180, 0), -1, cv2.LINE_AA)
    return drawn


def main() -> None:
    picture, mask = render()
    truth = mask.astype(np.uint8) * np.uint8(255)
    columns = {"image": picture, "ground truth": truth, "click and box": with_prompts(picture, mask)}
    target = Path(__file__).parent / "images" / "scene.jpg"
    cv2.imwrite(str(target), compare_sheet([columns], height=300), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
