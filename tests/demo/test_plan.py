"""Who is filmed where."""

from demo.generator.params import Params
from demo.generator.plan import recordings
from tests.demo.small import TINY


def test_splits_share_nobody() -> None:
    plan = recordings(Params.model_validate(TINY))
    people = [person.name for recording in plan for person in recording.people]
    assert len(people) == len(set(people)) == 7
