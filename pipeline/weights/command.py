"""`mien weights add`: arguments in, a converted and declared file out.

What it needs is imported when it runs: `mien --help` must not wait for torch.
"""

import argparse
from typing import Any

FILE_HELP = (
    "safetensors, ONNX, a checkpoint of torch's (.pth, .pt, .bin, .ckpt, .pth.tar) or of Keras' (.h5, .hdf5), or "
    "PACKAGE:NAME, a file that an installed Python package ships"
)
UNLESS_KNOWN = "(needed, but for a file that is known by its digest)"


def add_arguments(subparsers: Any) -> None:
    """Add `weights add`; it sets `run` to its function."""
    weights = subparsers.add_parser("weights", help="bring in other people's networks")
    commands = weights.add_subparsers(dest="weights_command", required=True)
    parser = commands.add_parser("add", help="convert a published weight file to safetensors and declare it")
    parser.add_argument("file", metavar="FILE", help=FILE_HELP)
    parser.add_argument("--name", help=f"what it is called here: weights/NAME.safetensors {UNLESS_KNOWN}")
    parser.add_argument("--source", metavar="URL", help=f"where it was published {UNLESS_KNOWN}")
    parser.add_argument("--licence", help=f"its licence, as its publisher writes it {UNLESS_KNOWN}")
    parser.add_argument("--trained-on", nargs="+", metavar="DATASET", help=f"all that it has seen {UNLESS_KNOWN}")
    parser.add_argument("--label-types", nargs="+", metavar="KIND", help="which labels it was trained with")
    parser.add_argument("--architecture", metavar="TIMM", help="timm's name, where names and shapes do not tell it")
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads of a ViT that are not 64 wide")
    parser.add_argument("--pixels", type=int, metavar="P", help="side of the pictures that it expects")
    parser.add_argument("--colours", choices=["rgb", "bgr"], help="order of the channels that it expects")
    for name, what in (("--mean", "taken off"), ("--std", "divided by")):
        parser.add_argument(name, type=float, nargs=3, metavar="X", help=f"{what}, of values in [0, 1], each channel")
    parser.set_defaults(run=add_command)


def add_command(args: argparse.Namespace) -> int:
    """Run `add` on what was said, and on what is known of the file."""
    from pipeline.weights.add import Told, add
    from pipeline.weights.known import described
    from pipeline.weights.packaged import packaged_file

    path = packaged_file(args.file)
    said = {name: getattr(args, name) for name in ("pixels", "colours", "mean", "std")}
    normalisation = {name: value for name, value in said.items() if value is not None}
    words = {name: getattr(args, name) for name in ("source", "licence", "trained_on", "label_types")}
    name, origin = described(path, args.name, {key: value for key, value in words.items() if value is not None})
    return add(path, name, origin, Told(args.architecture, args.heads, normalisation))
