"""Draw overlays, sheets of images, and curves."""

from samplug.visualization.overlay import (
    add_caption,
    compare_sheet,
    contact_sheet,
    draw_classes,
    draw_masks,
    draw_overlay,
    encode_picture,
    number_objects,
    region_masks,
    write_picture,
)

__all__ = [
    "add_caption",
    "compare_sheet",
    "contact_sheet",
    "draw_classes",
    "draw_masks",
    "draw_overlay",
    "encode_picture",
    "number_objects",
    "region_masks",
    "write_picture",
]
