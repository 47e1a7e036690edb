"""`mien trace`: one row told, its crop saved."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.core.errors import MienError


def add_arguments(subparsers: Any) -> None:
    """Add `trace`; it sets `run` to its function."""
    parser = subparsers.add_parser("trace", help="one row of a submission back to its frame, its decision made anew")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("row", metavar="VIDEO/FRAME", help="122/37, 122/00037.jpg, or an image's name")
    parser.add_argument("--save", type=Path, metavar="JPEG", help="write the face's crop there")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=trace_command)


def trace_command(args: argparse.Namespace) -> int:
    """0 when the row's decision comes out again."""
    from pipeline.audit.audit import look_up, open_history
    from pipeline.audit.trace import trace
    from pipeline.core.files import atomic_write_bytes

    found = look_up(args.file, open_history())
    if found is None:
        raise MienError(f"{args.file}: Mien did not make these bytes; `mien audit {args.file}` tells what is near them")
    traced = trace(found, args.row)
    if args.save:
        if not traced.face:
            raise MienError(f"{args.row}: no face was found in this frame, so there is no crop to save")
        atomic_write_bytes(args.save, traced.face["jpeg"])
    facts = asdict(traced)
    facts["face"].pop("jpeg", None)
    print(json.dumps(facts, indent=1) if args.json else "\n".join(_lines(facts)))
    return 0 if traced.same_file and traced.recomputed == traced.text else 1


def _lines(facts: dict[str, Any]) -> list[str]:
    source, face = facts["source"], facts["face"]
    lines = [f"line {facts['line']}: {facts['text']}"]
    lines += [f"  stands again, as in the official list, at line {line}" for line in facts["twins"]]
    lines.append(f"frame: {facts['key']['frame']} of video {facts['key']['video']}, row {facts['key']['ordinal']}")
    digest = f", md5 {source['md5']}, sha256 {source['sha256']}" if "md5" in source else f", {source['files']} files"
    lines.append(f"source: {source['kind']} {', '.join(source['paths'])} of {source['root']}{digest}")
    if (agrees := source.get("as_the_shard_says")) is not None:
        lines.append(f"  the faces were cut from {'these very bytes' if agrees else 'OTHER bytes'}")
    if face:
        lines.append(f"face: score {face['score']:.4f}, box {_numbers(face['box'])}")
        lines.append(f"  landmarks {_numbers(face['landmarks'])}")
    else:
        lines.append("face: none was found in this frame")
    if facts["filled"]:
        lines.append("filled: no member saw a face, so its scores are between those of its neighbours in time")
    for name, tasks in facts["members"].items():
        lines += [
            f"member {name}, {task}: weight {t['weight']:g}, {_numbers(t['scores'], 4)}" for task, t in tasks.items()
        ]
    for task, how in facts["fitted"].items():
        frames = facts["neighbours"][task]
        lines.append(f"{task}: smoothed over {len(frames)} frames, {frames[0]} to {frames[-1]}" if frames else task)
        lines.append(f"  combined {_numbers(facts['combined'][task], 4)}")
        if how["au_thresholds"]:
            lines.append(f"  thresholds {_numbers(how['au_thresholds'], 2)}")
        if how["class_prior"]:
            lines.append(f"  divided by {_numbers(how['class_prior'], 4)}")
    same = facts["recomputed"] == facts["text"]
    lines.append(
        f"decided anew: {facts['recomputed']}: {'the line of the file' if same else 'NOT the line of the file'}"
    )
    lines.append(f"the whole file made anew: {'the same bytes' if facts['same_file'] else 'OTHER bytes'}")
    return lines


def _numbers(values: Any, decimals: int = 1) -> str:
    return " ".join(f"{value:.{decimals}f}" for value in values)
