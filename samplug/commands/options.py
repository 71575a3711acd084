"""Parse the values of ``--cfg-options``."""

import argparse
import ast
from typing import Any

from mmengine.config import DictAction

from samplug.utils.errors import ConfigError
from samplug.utils.literals import literal


class CfgOptions(DictAction):
    """MMEngine's action for ``KEY=VALUE``, with two additions.

    Spaces are kept in texts; MMEngine removes them, even from paths. Dicts are parsed as in configs:
    ``key="dict(type='EMAHook', momentum=0.01)"``, ``key="[dict(...)]"``, ``key="{'a': 1}"``.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        for word in values:
            if not word.partition("=")[1]:
                raise argparse.ArgumentError(
                    self, f"{word!r} is no KEY=VALUE (a value with spaces needs quotes around it)"
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        return parse(val)


def parse(text: str) -> Any:
    """Return the value of an option.

    Raises:
        ConfigError: A dict cannot be read.
    """
    if "dict(" in text or "{" in text:
        try:
            return literal(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, ValueError) as error:
            raise ConfigError(
                f"--cfg-options: {text} cannot be read: within dict(...) or {{...}} write values as in Python, texts "
                "in quotes"
            ) from error
    bare = text.strip("'\"")
    if "," not in bare and not bare.startswith(("[", "(")):
        return DictAction._parse_int_float_bool(bare)
    return DictAction._parse_iterable(text)
