"""Score folders of predicted maps against folders of ground truth masks; no model needed."""

import argparse
import ast
import os
from pathlib import Path
from typing import Any

from samplug.evaluation.folders import BASELINE_PREFIX, GroundTruths, Method, differences, evaluate, extremes
from samplug.evaluation.protocols import Overlap, Protocol, Saliency, Shadow
from samplug.evaluation.report import Report, check_writable, table, write_csv
from samplug.utils.errors import ConfigError

_LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    protocols = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL")
    for protocol in (Saliency, Shadow, Overlap):
        sub = protocols.add_parser(
            protocol.name,
            help=", ".join(protocol.columns),
            description=(protocol.__doc__ or "").split("\n\n    Args:")[0],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        what = sub.add_mutually_exclusive_group(required=True)
        what.add_argument("--pred", metavar="DIR", help=f"predictions, or {BASELINE_PREFIX}NAME")
        what.add_argument(
            "--compare",
            nargs="+",
            metavar="[NAME=]DIR",
            help=f"several methods side by side; {BASELINE_PREFIX}constant, centre-prior, spectral-residual and grabcut are methods too",
        )
        sub.add_argument("--gt", required=True, metavar="DIR", help="true masks, paired with predictions by name")
        sub.add_argument("--images", metavar="DIR", help="images, for the baselines that look at them")
        sub.add_argument(
            "--out", metavar="F.json", help="scores of the set and of each image; with --compare F.NAME.json each"
        )
        sub.add_argument("--csv", metavar="F.csv", help="a line for each image; with --compare all methods in it")
        sub.add_argument("--pred-suffix", metavar="END", help="ending of predictions' names to cut off, as _pred.png")
        sub.add_argument("--gt-suffix", metavar="END", help="ending of truths' names to cut off, as _mask.png")
        sub.add_argument("--recursive", action="store_true", help="look into subfolders")
        sub.add_argument(
            "--mask-values",
            default="auto",
            help="'auto', '0/255', '0/1', a colour rule, or dict(foreground=[1, 2], ignore=[255])",
        )
        sub.add_argument("--on-error", choices=["stop", "skip"], default="stop", help="what cannot be scored")
        sub.add_argument("--resize", action="store_true", help="resize predictions of another size to the truth's")
        sub.add_argument(
            "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: all cores)"
        )
        if protocol is not Overlap:
            sub.add_argument(
                "--size", default="native", help="'native' (default), or the side of the square to squash to, as 1024"
            )
        if protocol is Saliency:
            sub.add_argument("--wf-beta2", type=float, default=1.0, help="1 in the literature (default), 0.3 in TS-SAM")
        else:
            sub.add_argument(
                "--threshold", type=float, default=0.5, help="foreground is where the prediction exceeds it"
            )
        if protocol is Shadow:
            sub.add_argument("--pooling", choices=["dataset", "image"], default="dataset")
        if protocol is not Overlap:
            sub.add_argument(
                "--mode",
                choices=["standard", "tssam"],
                default="standard",
                help="tssam: S-measure 0 where TS-SAM's code meets NaN; its row of scores: add --size 1024 --wf-beta2 0.3"
                if protocol is Saliency
                else "tssam: threshold 125/255 and mean over images; TS-SAM's row of scores: add --size 1024",
            )


def execute(args: argparse.Namespace) -> None:
    protocol = _protocol(args)
    for path in filter(None, (args.out, args.csv)):
        check_writable(path)
    truths = GroundTruths.find(args.gt, args.gt_suffix, _mask_values(args.mask_values), args.images, args.recursive)
    sources = [args.pred] if args.pred else args.compare
    methods: dict[str, Method] = {}
    for source in sources:
        name, folder = ("", source) if args.pred else _named(source)
        method = Method.find(folder, truths, args.pred_suffix, name or None)
        if method.name in methods:
            raise ConfigError(f"evaluate: two methods are called {method.name}: name them, as in a={source} b=...")
        methods[method.name] = method
        if "/" in method.name or os.sep in method.name:
            raise ConfigError(
                f"evaluate: the name {method.name!r} has a slash, it becomes part of a file's name: choose another"
            )
        if method.scale > 1:
            print(f"{method.name}: predictions hold 0 and 1, taken as 0 and 255")
    reports = evaluate(methods, truths, protocol, args.on_error, args.resize, args.workers, progress=True)
    _print(reports, protocol, truths)
    _write(args, reports)


def _named(source: str) -> tuple[str, str]:
    """Name and folder of ``[NAME=]DIR``; a folder may have a ``=`` in its path."""
    name, _, folder = source.partition("=")
    return ("", source) if not folder or Path(source).expanduser().is_dir() else (name, folder)


def _protocol(args: argparse.Namespace) -> Protocol:
    size = getattr(args, "size", "native")
    if size != "native" and not (size.isdecimal() and int(size) > 0):
        raise ConfigError(f"evaluate: --size {size} is neither 'native' nor a number of pixels")
    side = None if size == "native" else int(size)
    if args.protocol == Saliency.name:
        return Saliency(size=side, wf_beta2=args.wf_beta2, mode=args.mode)
    if args.protocol == Shadow.name:
        return Shadow(size=side, threshold=args.threshold, pooling=args.pooling, mode=args.mode)
    return Overlap(threshold=args.threshold)


def _mask_values(text: str) -> Any:
    """A rule's name, or the literal ``dict(...)`` or ``{...}``."""
    if not text.startswith(("dict(", "{")):
        return text
    try:
        tree = ast.parse(text, mode="eval").body
        if isinstance(tree, ast.Call):
            return {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
        return ast.literal_eval(tree)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(f"evaluate: --mask-values {text} is no dict of lists of values") from error


def _print(reports: dict[str, Report], protocol: Protocol, truths: GroundTruths) -> None:
    metric = protocol.columns[0]
    lower = metric in protocol.lower_is_better
    where = f"squashed to {protocol.size}x{protocol.size}" if protocol.size else "at the truth's size"
    images = len(next(iter(reports.values())).images)
    print(f"\n{protocol.name}: {images} of {len(truths.files)} truths in {truths.folder}, scored {where}\n")
    print(table({name: report.summary for name, report in reports.items()}, protocol.columns, "method"))
    for name, report in reports.items():
        if report.skipped:
            print(f"\n{name}: {len(report.skipped)} skipped")
            for image, why in list(report.skipped.items())[:_LISTED]:
                print(f"  {image}: {why}")
            if len(report.skipped) > _LISTED:
                print(f"  and {len(report.skipped) - _LISTED} more")
        worst, best = extremes(report, metric, lower)
        for caption, chosen in (("worst", worst), ("best", best)):
            print(
                f"\n{name}, {caption} by {metric}: "
                + ", ".join(f"{i} ({report.images[i][metric]:.3f})" for i in chosen)
            )
    if len(reports) > 1:
        print("\n" + "\n".join(differences(reports, metric, lower)))


def _write(args: argparse.Namespace, reports: dict[str, Report]) -> None:
    if args.out:
        target = Path(args.out)
        for name, report in reports.items():
            report.write_json(target if args.pred else target.with_suffix(f".{name}{target.suffix}"))
    if args.csv and args.pred:
        next(iter(reports.values())).write_csv(args.csv)
    elif args.csv:
        columns = list(next(iter(reports.values())).summary)
        lines = [["image", *(f"{name}/{column}" for name in reports for column in columns)]]
        images = sorted({image for report in reports.values() for image in report.images})
        rows: list[tuple[str, list[dict[str, float]]]] = [
            (image, [report.images.get(image, {}) for report in reports.values()]) for image in images
        ]
        rows.append(("(all)", [report.summary for report in reports.values()]))
        for image, scores in rows:
            lines.append([image, *(repr(of[c]) if c in of else "" for of in scores for c in columns)])
        write_csv(args.csv, lines)
