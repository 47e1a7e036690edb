"""`mien weights add`: arguments in, a converted and declared file out.

What it needs is imported when it runs: `mien --help` must not wait for torch.
"""

import argparse
from pathlib import Path
from typing import Any

FILE_HELP = "safetensors, ONNX, or a checkpoint of torch's (.pth, .pt, .bin, .ckpt, .pth.tar)"


def add_arguments(subparsers: Any) -> None:
    """Add `weights add`; it sets `run` to its function."""
    weights = subparsers.add_parser("weights", help="bring in other people's networks")
    commands = weights.add_subparsers(dest="weights_command", required=True)
    parser = commands.add_parser("add", help="convert a published weight file to safetensors and declare it")
    parser.add_argument("file", type=Path, metavar="FILE", help=FILE_HELP)
    parser.add_argument("--name", required=True, help="what it is called here: weights/NAME.safetensors")
    parser.add_argument("--source", required=True, metavar="URL", help="where it was published")
    parser.add_argument("--licence", required=True, help="its licence, as its publisher writes it")
    parser.add_argument("--trained-on", required=True, nargs="+", metavar="DATASET", help="all that it has seen")
    parser.add_argument("--label-types", nargs="+", default=[], metavar="KIND", help="which labels it was trained with")
    parser.add_argument("--architecture", metavar="TIMM", help="timm's name, where names and shapes do not tell it")
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads of a ViT that are not 64 wide")
    parser.add_argument("--pixels", type=int, metavar="P", help="side of the pictures that it expects")
    parser.add_argument("--colours", choices=["rgb", "bgr"], help="order of the channels that it expects")
    for name, what in (("--mean", "taken off"), ("--std", "divided by")):
        parser.add_argument(name, type=float, nargs=3, metavar="X", help=f"{what}, of values in [0, 1], each channel")
    parser.set_defaults(run=add_command)


def add_command(args: argparse.Namespace) -> int:
    """Run `add` on what was said."""
    from pipeline.weights.add import Origin, Told, add

    said = {name: getattr(args, name) for name in ("pixels", "colours", "mean", "std")}
    normalisation = {name: value for name, value in said.items() if value is not None}
    origin = Origin(args.source, args.licence, args.trained_on, args.label_types)
    return add(args.file, args.name, origin, Told(args.architecture, args.heads, normalisation))
