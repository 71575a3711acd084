"""Download the weights that a model needs.

Downloads resume, and are checked where a hash is known.
"""

import argparse
import filecmp
import os
import shutil
from pathlib import Path

from samplug.model_index import names, resolve
from samplug.utils.errors import UserError
from samplug.utils.files import replace_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="name of a model, see --list")
    parser.add_argument("--out-dir", help="folder for the files (default: the cache, where configs find them)")
    parser.add_argument("--list", action="store_true", help="show the names, and what each downloads")


def execute(args: argparse.Namespace) -> None:
    if args.list == (args.name is not None):
        raise argparse.ArgumentError(None, "give a name, or --list")
    if args.list:
        for name in names():
            model = resolve(name)
            size = model.metadata.get("File Size")
            what = f"{size / 1e6:,.0f} MB" if size else ", ".join(model.needs) or "nothing"
            print(f"{name:50s} {what}")
        return
    for file in download(args.name, args.out_dir):
        print(file)


def download(name: str, out_dir: str | Path | None = None) -> list[Path]:
    """Fetch the weights of a model and those that it starts from; files that are here already are not fetched again.

    Args:
        name: A name of :func:`samplug.model_index.names`.
        out_dir: Folder that gets the files; None: the cache, where configs find them by their address.

    Returns:
        The files.

    Raises:
        ConfigError: Unknown name.
        WeightsError: A download failed, or has another hash.
        DataError: ``out_dir`` cannot be written.
        UserError: The name has no weights, or ``out_dir`` holds another file of that name.
    """
    from samplug.checkpoints import fetch

    sources = resolve(name).sources
    if not sources:
        raise UserError(f"download: {name} has no weights and starts from none")
    files = [fetch(source) for source in sources]
    return files if out_dir is None else [_place(file, Path(out_dir)) for file in files]


def _place(file: Path, folder: Path) -> Path:
    target = folder / file.name
    if target.exists():
        if filecmp.cmp(file, target, shallow=False):
            return target
        raise UserError(
            f"download: {target} is another file ({target.stat().st_size:,} bytes, expected "
            f"{file.stat().st_size:,}): move it, or choose another --out-dir"
        )
    replace_file(target, lambda partial: _link_or_copy(file, partial))
    return target


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)  # no second copy where both are on one disk
    except OSError:
        shutil.copyfile(file, target)
