"""What tests of arrivals share."""

import pytest

from tests.retrain.case import Case


@pytest.fixture
def case(workspace) -> Case:
    """An inbox beside a small release."""
    return Case(workspace)
