"""The commands `mien retrain`, `mien serve`, `mien history` and `mien rollback`."""

import argparse
import sys
from typing import Any


def add_arguments(subparsers: Any) -> None:
    """Their arguments; what they need is imported when they run."""
    retrain = subparsers.add_parser("retrain", help="take in new recordings, train, compare, promote or refuse")
    retrain.add_argument("--if-new-data", action="store_true", help="do nothing where nothing new has arrived")
    retrain.add_argument("--accept-drift", action="store_true", help="promote though new recordings are unlike the old")
    retrain.set_defaults(run=_retrain)
    serve = subparsers.add_parser("serve", help="retrain by itself: on a schedule, and when recordings arrive")
    serve.set_defaults(run=_serve)
    history = subparsers.add_parser("history", help="what retraining has done: scores, data, promoted or why not")
    history.set_defaults(run=_history)
    rollback = subparsers.add_parser("rollback", help="back to an earlier champion, without training")
    rollback.add_argument("tag", nargs="?", metavar="TAG", help="champion/va/1 (default: before the last promotion)")
    rollback.set_defaults(run=_rollback)


def _retrain(args: argparse.Namespace) -> int:
    from pipeline.retrain.retrain import retrain

    return retrain(args.if_new_data, args.accept_drift)


def _serve(_: argparse.Namespace) -> int:
    from pipeline.run.supervise import run_supervised

    return run_supervised([sys.executable, "-m", "pipeline.retrain.serve"])


def _history(_: argparse.Namespace) -> int:
    from pipeline.retrain.history import read_history, render

    print(render(read_history()))
    return 0


def _rollback(args: argparse.Namespace) -> int:
    from pipeline.retrain.rollback import rollback

    return rollback(args.tag)
