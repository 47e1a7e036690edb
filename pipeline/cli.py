"""The `mien` command (`python -m pipeline` is the same)."""

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError
from pipeline.core.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.run.command import run_main


def parser() -> argparse.ArgumentParser:
    """All commands; heavy libraries are imported by the command that needs them."""
    from pipeline.abaw.check import command as check
    from pipeline.audit import command as audit
    from pipeline.audit import diff_command, rules_command, trace_command
    from pipeline.audit.exchange import bundle_command
    from pipeline.retrain import command as retraining
    from pipeline.validate import commands as data
    from pipeline.weights import command as weights

    top = argparse.ArgumentParser(prog="mien", description="From raw video to a valid ABAW submission, traceably.")
    top.add_argument("--debug", action="store_true", help="show tracebacks")
    top.add_argument("--version", action="version", version=f"mien {version('mien')}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data.add_arguments(subparsers)
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
    repro.add_argument(
        "--jobs", type=int, metavar="N", help="stages at a time (default: one a core, one where there is a GPU)"
    )
    repro.add_argument("--pool", default="", metavar="NAME", help="let the workers of this Prefect work pool run them")
    repro.add_argument("--until", nargs="+", default=[], metavar="STAGE", help="no more than these need: submit@va")
    repro.set_defaults(run=_repro)


def _add_predict(subparsers: Any) -> None:
    predict = subparsers.add_parser(
        "predict",
        help="the trained ensemble on a picture, a video or a folder of them",
        epilog=f"Pictures: {' '.join(IMAGE_SUFFIXES)}. Videos: {' '.join(VIDEO_SUFFIXES)}.",
    )
    predict.add_argument("input", type=Path, metavar="INPUT", nargs="?", help="a picture, a video or a folder of them")
    predict.add_argument("--camera", type=int, metavar="N", help="a camera's frames in place of INPUT, until Ctrl-C")
    predict.add_argument(
        "--output", type=Path, metavar="FILE", help="a .csv, .jsonl or .parquet file (default predictions.csv)"
    )
    predict.add_argument(
        "--json", action="store_true", help="JSON lines, on standard output where there is no --output"
    )
    predict.add_argument("--overlay", type=Path, metavar="FOLDER", help="write annotated videos and pictures there")
    predict.add_argument("--timeline", type=Path, metavar="FOLDER", help="draw each video's scores over its time there")
    predict.add_argument("--people", action="store_true", help="everybody in a video, each with a number")
    predict.add_argument("--resume", action="store_true", help="go on with the table of a run that was stopped")
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
    if args.jobs is not None and args.jobs < 1:
        raise MienError("--jobs must be 1 or more", exit_code=2)
    from pipeline.run.environment import POOL
    from pipeline.run.supervise import SIGNALLED, run_supervised

    # the flow says itself what has ended, and how; of a stage that failed Prefect tells it twice, and of no traceback
    quiet = {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "CRITICAL"}
    quiet |= os.environ | {POOL: args.pool}
    command = [sys.executable, "-m", "pipeline.run.flows", str(args.jobs or 0), *args.until]
    code = run_supervised(command, environment=quiet)
    if args.pool and code > SIGNALLED:
        from pipeline.run.pool import cancel_stages

        cancel_stages(args.pool)
    return code or _runs(args)


def _predict(args: argparse.Namespace) -> int:
    from pipeline.predict.camera import predict_camera
    from pipeline.predict.command import predict_all
    from pipeline.predict.places import Places
    from pipeline.retrain.champions import champion_homes

    homes = champion_homes() if args.trained == "champion" else {}
    table = args.output or (None if args.json else Path("predictions.csv"))
    places = Places(table, args.overlay, args.timeline, json_lines=args.json, resume=args.resume)
    if (args.input is None) == (args.camera is None) or (args.camera is not None and args.crops):
        raise MienError("mien predict: give an INPUT, or a --camera without --crops", exit_code=2)
    if args.camera is not None:
        return predict_camera(args.camera, places, homes, people=args.people)
    return predict_all(args.input, places, homes, crops=args.crops, people=args.people)


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
