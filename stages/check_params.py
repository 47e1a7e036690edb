"""Check params.yaml as a whole, so that a slip in its last section is told before hours of work.

Reads params.yaml and weights.yaml; writes `artifacts/params.txt`, always the same bytes: the first stage waits for it
and no change of a value makes that one stale. Writes `artifacts/declared/<stage>.yaml` too: what weights.yaml says of
the files that the stage's params name, so that a file more makes no stage stale that does not read it. Prints which
values have been edited since the lock, and who reads them: an anchor stands for a value of many systems. Run it with
`dvc repro check_params` or `python -m stages.check_params`.
"""

from pathlib import Path
from typing import Any

import yaml

from pipeline.core.files import atomic_dir, atomic_write_text
from pipeline.core.params import read_tree
from pipeline.core.paths import DECLARED, PARAMS_CHECKED
from pipeline.core.weights import declared, named_in
from pipeline.run.command import run_main
from pipeline.run.edits import edits, told
from pipeline.run.tracking import LOCKS
from pipeline.settings import load_params


def readers_of_weights(tree: dict[str, Any]) -> dict[str, Any]:
    """The stages that read weight files from outside, and the params that name these."""
    graph, systems = tree["graph"], tree["systems"]
    backbones = tree["cache_features"]["backbones"]
    found = {"detect_align": tree["detect_align"]}
    found |= {f"external_faces@{name}": tree["detect_align"] for name in graph["external"]}
    found |= {f"pretrain_mae@{name}": tree["pretrain_mae"] for name in graph["encoders"]}
    found |= {f"cache_features@{name}": [line, backbones[name]] for name, line in graph["features"].items()}
    found |= {f"pretrain_feedback@{track}": systems["feedback"] for track in graph["feedback"]}
    found |= {f"pseudo_label_expressions@{track}": tree["pseudo_label"] for track in graph["pool_labellers"]}
    return found | {f"finetune@{name}": [line, systems[line["system"]]] for name, line in graph["trainings"].items()}


def main() -> None:
    """Read every section in its owner's class, and what they say of each other; then the declarations."""
    params, known, tree = load_params(), declared(), read_tree()
    with atomic_dir(DECLARED) as out:
        for stage, part in readers_of_weights(tree).items():
            entries = {name: entry.model_dump(mode="json") for name, entry in named_in(part, known).items()}
            atomic_write_text(out / f"{stage}.yaml", yaml.safe_dump(entries, sort_keys=True))
    atomic_write_text(PARAMS_CHECKED, "params.yaml was checked\n")
    for line in told(edits(tree, Path(LOCKS[0]))):
        print(line)
    print(f"check_params: {len(params.graph.trainings)} trainings, tracks {', '.join(params.graph.tracks)}")


if __name__ == "__main__":
    run_main(main)
