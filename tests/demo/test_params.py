"""The generator's params."""

from pathlib import Path

import pytest
import yaml

from demo.generator.params import read_params
from pipeline.core.code import ROOT
from pipeline.core.errors import MienError
from tests.demo.small import TINY


def test_default_params_are_valid() -> None:
    assert read_params(ROOT / "demo" / "params.yaml").videos.train > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"sede": 1}, "unknown key sede"), ({"mtl": {**TINY["mtl"], "step": 2}}, "mtl.step"), ({"seed": -1}, "seed")],
)
def test_wrong_params_are_one_clear_error(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**TINY, **change}))
    with pytest.raises(MienError) as caught:
        read_params(path)
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)
