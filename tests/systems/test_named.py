"""Systems by name."""

import pytest

from pipeline.core.errors import MienError
from pipeline.systems.named import system_module


def test_feedback_is_not_fine_tuned():
    with pytest.raises(MienError, match=r"feedback is not made by finetune; see pipeline/systems/feedback\.py"):
        system_module("feedback")
