"""The `mien` command (`python -m pipeline` is the same)."""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError
from pipeline.run.command import run_main


def parser() -> argparse.ArgumentParser:
    """All commands; heavy libraries are imported by the command that needs them."""
    from pipeline.abaw.check import command as check
    from pipeline.audit import command as audit
    from pipeline.audit import diff_command, rules_command, trace_command
    from pipeline.audit.exchange import bundle_command
    from pipeline.release import commands
    from pipeline.retrain import command as retraining
    from pipeline.weights import command as weights

    top = argparse.ArgumentParser(prog="mien", description="From raw video to a valid ABAW submission, traceably.")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    top.add_argument("--version", action="version", version=f"mien {version('mien')}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_arguments(subparsers)
    check.add_arguments(subparsers)
    weights.add_arguments(subparsers)
    for command in (audit, trace_command, diff_command, rules_command, bundle_command):
        command.add_arguments(subparsers)
    retraining.add_arguments(subparsers)
    _add_init(subparsers)
    _add_plan(subparsers)
    _add_repro(subparsers)
    _add_predict(subparsers)
    _add_runs(subparsers)
    _add_why(subparsers)
    return top


def _add_init(subparsers: Any) -> None:
    init = subparsers.add_parser("init", help="write a params.yaml that holds what a release supports")
    init.add_argument("place", type=Path, metavar="DIR", help="a release or an imported pack, below the project")
    init.add_argument("--tracks", default="", metavar="va,expr", help="these alone (default: all that there is)")
    init.add_argument("--size", choices=["laptop", "demo", "gpu"], default="laptop", help="default laptop")
    init.add_argument("--output", type=Path, default=Path("params.yaml"), metavar="FILE")
    init.set_defaults(run=_init)


def _add_plan(subparsers: Any) -> None:
    plan = subparsers.add_parser("plan", help="hours, memory and disk that a whole run will take on this machine")
    plan.add_argument("--json", action="store_true", help="for machines")
    plan.set_defaults(run=_plan)


def _add_repro(subparsers: Any) -> None:
    repro = subparsers.add_parser("repro", help="rebuild what is stale as a Prefect flow over DVC's graph")
    repro.add_argument("--jobs", type=int, default=1, metavar="N", help="stages at a time (default 1)")
    repro.add_argument("--until", nargs="+", default=[], metavar="STAGE", help="no more than these need: submit@va")
    repro.set_defaults(run=_repro)


def _add_predict(subparsers: Any) -> None:
    predict = subparsers.add_parser("predict", help="the trained ensemble on a picture, a video or a folder of them")
    predict.add_argument("input", type=Path, metavar="INPUT")
    predict.add_argument("--output", type=Path, default=Path("predictions.csv"), help="a .csv or .parquet file")
    predict.add_argument("--overlay", type=Path, metavar="FOLDER", help="write annotated videos and pictures there")
    predict.add_argument("--resume", action="store_true", help="go on with the .csv of a run that was stopped")
    predict.add_argument("--crops", action="store_true", help="the pictures are aligned faces: nothing is detected")
    predict.add_argument(
        "--from",
        dest="trained",
        choices=["champion", "workspace"],
        default="champion",
        help="whose ensembles answer: the champions, where `mien retrain` has made some, or what lies here",
    )
    predict.set_defaults(run=_predict)


def _add_runs(subparsers: Any) -> None:
    runs = subparsers.add_parser("runs", help="time and peak memory of each stage's last run")
    runs.set_defaults(run=_runs)


def _add_why(subparsers: Any) -> None:
    why = subparsers.add_parser("why", help="which code, library, param or data made a stage stale since the lock")
    why.add_argument("stage", metavar="STAGE", help="as `dvc stage list` names it, say finetune@vit-au")
    why.set_defaults(run=_why)


def _init(args: argparse.Namespace) -> int:
    from pipeline.plan.command import init

    return init(args.place, [track for track in args.tracks.split(",") if track], args.size, args.output)


def _plan(args: argparse.Namespace) -> int:
    from pipeline.plan.cost_command import plan

    return plan(args.json)


def _repro(args: argparse.Namespace) -> int:
    if args.jobs < 1:
        raise MienError("--jobs must be 1 or more", exit_code=2)
    from pipeline.run.supervise import run_supervised

    code = run_supervised([sys.executable, "-m", "pipeline.run.flows", str(args.jobs), *args.until])
    return code or _runs(args)


def _predict(args: argparse.Namespace) -> int:
    from pipeline.predict.command import predict_all
    from pipeline.retrain.champions import champion_homes

    homes = champion_homes() if args.trained == "champion" else {}
    return predict_all(args.input, args.output, args.overlay, args.crops, homes, resume=args.resume)


def _runs(_: argparse.Namespace) -> int:
    from pipeline.run.relocked import why_relocked
    from pipeline.run.times import publish_timings

    publish_timings()
    if why := why_relocked():
        print(why)
    return 0


def _why(args: argparse.Namespace) -> int:
    from pipeline.run.why import tell

    return tell(args.stage)


def main() -> None:
    """Entry point of the console script."""
    args = parser().parse_args()
    if args.debug:
        os.environ["MIEN_DEBUG"] = "1"
    run_main(lambda: args.run(args))
