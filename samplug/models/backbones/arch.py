"""Sizes of encoders, by a published name or as a dict."""

from collections.abc import Mapping
from typing import Any

from samplug.utils.errors import ConfigError, did_you_mean


def arch_sizes(
    owner: str, arch: str | Mapping[str, Any], published: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Look up a published architecture, or check a dict of sizes; fill in defaults.

    Args:
        owner: The encoder's class, for messages.
        arch: A name of ``published``, or a dict with the keys that its entries have and any of those of ``defaults``.
        published: Sizes by name, all with the same keys.
        defaults: Values of optional sizes.

    Raises:
        ConfigError: Unknown name, a missing or unknown size, or a width that the heads do not divide.
    """
    if isinstance(arch, str):
        if arch not in published:
            raise ConfigError(
                f"{owner}: arch={arch!r} is not one of {', '.join(sorted(published))}, and no dict of sizes"
                f"{did_you_mean(arch, published)}"
            )
        arch = published[arch]
    required = set(next(iter(published.values())))
    missing, unknown = required - set(arch), set(arch) - required - set(defaults)
    if missing or unknown:
        raise ConfigError(f"{owner}: arch dict lacks {sorted(missing)} and has unknown keys {sorted(unknown)}")
    sizes = {**defaults, **arch}
    if sizes["embed_dims"] % sizes["num_heads"]:
        raise ConfigError(
            f"{owner}: embed_dims={sizes['embed_dims']} is not a multiple of num_heads={sizes['num_heads']}"
        )
    return sizes
