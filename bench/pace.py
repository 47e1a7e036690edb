"""Keep how long each stage of the demo took here, for the estimate at the start of a newcomer's `make repro`.

To be run after a `make repro` in a fresh clone with nothing beside it.
"""

from pipeline.core.errors import MienError
from pipeline.core.files import write_json
from pipeline.run.command import run_main
from pipeline.run.dag import stage_order
from pipeline.run.environment import read_kept
from pipeline.run.pace import REFERENCE, TOOK, probe


def main() -> None:
    """Write `demo/seconds.json`; `MienError` where a stage has not been run over the graph in this workspace."""
    took = read_kept(TOOK)
    if missing := [stage for stage in stage_order() if stage not in took]:
        raise MienError(f"{', '.join(missing)}: not run here by `mien repro`; take a fresh clone")
    write_json(REFERENCE, {"probe_seconds": round(probe(), 4), "stages": took})
    print(f"{REFERENCE}: {len(took)} stages, {sum(took.values()):.0f} s one after the other")


if __name__ == "__main__":
    run_main(main)
