"""Write a model's prompt encoder and mask decoder as ONNX: image features and prompts to masks."""

import argparse

from samplug.commands.common import add_checkpoint, add_config, check_config
from samplug.utils.imports import without_collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_checkpoint(parser)
    parser.add_argument("--out", required=True, metavar="FILE", help="the file, e.g. decoder.onnx")
    parser.add_argument("--multimask", action="store_true", help="three masks for each object in place of one")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")


def execute(args: argparse.Namespace) -> None:
    check_config(args)
    with without_collection():
        from samplug.commands.prompt_decoder_onnx import OUTPUTS, export_onnx

    names = export_onnx(args.config, args.checkpoint, args.out, args.multimask, args.overwrite, args.cfg_options)
    print(f"written to {args.out}\ninputs: {', '.join(names)}\noutputs: {', '.join(OUTPUTS)}")
