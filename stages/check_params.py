"""Check params.yaml as a whole, so that a slip in its last section is told before hours of work.

Reads params.yaml; writes `artifacts/params.txt`, always the same bytes: the first stage waits for it and no change of a
value makes that one stale. Run it with `dvc repro check_params` or `python -m stages.check_params`.
"""

from pipeline.core.files import atomic_write_text
from pipeline.core.paths import PARAMS_CHECKED
from pipeline.run.command import run_main
from pipeline.settings import load_params


def main() -> None:
    """Read every section in its owner's class, and what they say of each other."""
    params = load_params()
    atomic_write_text(PARAMS_CHECKED, "params.yaml was checked\n")
    print(f"check_params: {len(params.graph.trainings)} trainings, tracks {', '.join(params.graph.tracks)}")


if __name__ == "__main__":
    run_main(main)
