"""Score folders of predictions against folders of ground truths; no model needed."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from samplug.evaluation.folders import differences, evaluate, extremes
from samplug.evaluation.protocols import PROTOCOLS, FileProtocol, GroundTruths, Predictions
from samplug.evaluation.report import Report, check_writable, table, write_csv
from samplug.utils.errors import ConfigError
from samplug.utils.files import Attempts
from samplug.utils.text import listed_lines

_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    protocols = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")
    parser.add_argument(
        "--import",
        action=_Import,
        protocols=protocols,
        metavar="MODULE",
        help="module that registers a protocol of yours (samplug.evaluation.protocols.register_protocol); the current "
        "folder is searched too; comes before PROTOCOL",
    )
    _add_protocols(protocols)


def execute(args: argparse.Namespace) -> None:
    protocol = PROTOCOLS[args.protocol].from_args(args)  # type: ignore[attr-defined]
    for path in filter(None, (args.out, args.csv)):
        check_writable(path)
    ground_truths = protocol.find_ground_truths(args.gt, args.gt_suffix, args.recursive)
    methods: dict[str, Predictions[Any, Any]] = {}
    for source in [args.pred] if args.pred else args.compare:
        name, folder = ("", source) if args.pred else _named(source)
        method = protocol.find_predictions(folder, ground_truths, args.pred_suffix, name or None)
        if method.name in methods:
            raise ConfigError(f"evaluate: two methods are called {method.name}: name them, as in a={source} b=...")
        methods[method.name] = method
        if "/" in method.name or os.sep in method.name:
            raise ConfigError(
                f"evaluate: the name {method.name!r} has a slash, but becomes part of a file name: choose another"
            )
        if method.note:
            print(f"{method.name}: {method.note}")
    reports = evaluate(methods, ground_truths, protocol, args.on_error, args.workers, progress=True)
    written = _write(args, reports)  # before anything is printed
    _print(reports, protocol, ground_truths)
    written.finish()


class _Import(argparse.Action):
    """Import a module while the arguments are parsed, so that PROTOCOL may be one that it registers."""

    def __init__(self, protocols: Any, **kwargs: Any) -> None:
        super().__init__(default=argparse.SUPPRESS, **kwargs)
        self.protocols = protocols

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        _import(values)
        _add_protocols(self.protocols)


def _add_protocols(protocols: Any) -> None:
    """Add a subcommand for each registered protocol that reads files and has none yet."""
    for protocol in PROTOCOLS.values():
        if issubclass(protocol, FileProtocol) and protocol.name not in protocols.choices:
            _add_protocol(protocols, protocol)


def _add_protocol(protocols: Any, protocol: type[FileProtocol[Any, Any]]) -> None:
    sub = protocols.add_parser(
        protocol.name,
        help=", ".join(protocol.columns),
        description=(protocol.__doc__ or "").split("\n\n    Args:")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--pred", metavar="DIR", help="predictions")
    source.add_argument("--compare", nargs="+", metavar="[NAME=]DIR", help="several methods side by side")
    sub.add_argument("--gt", required=True, metavar="DIR", help="ground truths, paired with predictions by name")
    sub.add_argument(
        "--out", metavar="F.json", help="scores of the set and of each image; with --compare F.NAME.json each"
    )
    sub.add_argument("--csv", metavar="F.csv", help="a line for each image; with --compare all methods in it")
    sub.add_argument("--pred-suffix", metavar="END", help="ending of predictions' names to cut off, as _pred.png")
    sub.add_argument("--gt-suffix", metavar="END", help="ending of ground truths' names to cut off, as _mask.png")
    sub.add_argument("--recursive", action="store_true", help="look into subfolders")
    sub.add_argument("--on-error", choices=["stop", "skip"], default="stop", help="for samples that cannot be scored")
    sub.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
    )
    protocol.add_arguments(sub)


def _import(module: str) -> None:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as python -c and -m do, and so the scoring processes
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise
        raise ConfigError(f"evaluate: --import {module}: there is no such module here or in the environment") from error


def _named(source: str) -> tuple[str, str]:
    """Split ``[NAME=]DIR`` into name and folder; a folder may have a ``=`` in its path."""
    name, _, folder = source.partition("=")
    return ("", source) if not folder or Path(source).expanduser().is_dir() else (name, folder)


def _print(reports: dict[str, Report], protocol: FileProtocol[Any, Any], ground_truths: GroundTruths[Any]) -> None:
    metric = protocol.columns[0]
    lower = metric in protocol.lower_is_better
    conditions = f", {text}" if (text := protocol.conditions()) else ""
    images = len(next(iter(reports.values())).images)
    print(
        f"\n{protocol.name}: {images} of {len(ground_truths.files)} ground truths in "
        f"{ground_truths.folder}{conditions}\n"
    )
    summaries = {name: report.summary for name, report in reports.items()}
    print(table(summaries | protocol.published_rows(), protocol.columns, "method", protocol.decimals))
    for name, report in reports.items():
        if report.skipped:
            print(f"\n{name}: {len(report.skipped)} skipped")
            print(listed_lines(report.skipped, _LISTED))
        worst, best = extremes(report, metric, lower)
        for caption, chosen in (("worst", worst), ("best", best)):
            print(
                f"\n{name}, {caption} by {metric}: "
                + ", ".join(f"{image} ({report.images[image][metric]:.3f})" for image in chosen)
            )
    if len(reports) > 1:
        print("\n" + "\n".join(differences(reports, metric, lower)))


def _write(args: argparse.Namespace, reports: dict[str, Report]) -> Attempts:
    attempts = Attempts()
    if args.out:
        target = Path(args.out)
        for name, report in reports.items():
            with attempts:
                report.write_json(target if args.pred else target.with_suffix(f".{name}{target.suffix}"))
    if args.csv:
        with attempts:
            _write_csv(args.csv, reports, several=not args.pred)
    return attempts


def _write_csv(path: str, reports: dict[str, Report], several: bool) -> None:
    if not several:
        next(iter(reports.values())).write_csv(path)
    else:
        columns = list(next(iter(reports.values())).summary)
        lines = [["image", *(f"{name}/{column}" for name in reports for column in columns)]]
        images = sorted({image for report in reports.values() for image in report.images})
        rows: list[tuple[str, list[dict[str, float]]]] = [
            (image, [report.images.get(image, {}) for report in reports.values()]) for image in images
        ]
        rows.append(("(all)", [report.summary for report in reports.values()]))
        for image, scores in rows:
            lines.append([image, *(repr(row[name]) if name in row else "" for row in scores for name in columns)])
        write_csv(path, lines)
