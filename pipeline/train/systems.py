"""Build a system for a track from params: the one place where names become networks."""

from models.system import System
from models.vit_heads import VitHeads
from pipeline.base.params import Params
from pipeline.errors import MienError
from pipeline.tracks import CLASSES, TASKS_OF
from pipeline.train.encoder import load_into


def build_system(
    name: str, track: str, params: Params, pretrained: bool = True, au_pos_weight: list[float] | None = None
) -> System:
    """The system `name` with the heads that `track` needs, its encoder pretrained unless told otherwise.

    Heads are drawn from torch's global generator: seed it before.
    """
    tasks = TASKS_OF[track]
    if name == "vit":
        system = VitHeads(
            params.vit.model_dump(),
            expressions=len(CLASSES[track]) if "expression" in tasks else 0,
            aus="aus" in tasks,
            va="va" in tasks,
            au_pos_weight=au_pos_weight,
            **params.systems.vit.model_dump(),
        )
        if pretrained:
            load_into(system.encoder, params.vit)
        return system
    raise MienError(f"params.yaml: there is no system {name}; use one of: vit", exit_code=2)
