"""The generator's head, read once."""

from pathlib import Path

import pytest

from demo.generator.mesh import packed_head
from demo.generator.render import Studio


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def studio(cache: Path) -> Studio:
    return Studio.open(packed_head(cache))
