"""Settings of masked CoTEX."""

import pytest
from pydantic import ValidationError

from pipeline.settings import load_params
from pipeline.systems.cotex import Settings


@pytest.mark.parametrize(
    ("grid", "ratio", "standardise", "refused"),
    [(2, 0.5, False, True), (2, 0.5, True, False), (2, 0.0, False, False), (0, 0.75, False, False)],
)
def test_cells_under_masks_must_be_standardised(root, grid, ratio, standardise, refused):
    tree = load_params(root / "params.yaml").systems["cotex"].model_dump()
    tree |= {"mask_ratio": ratio, "backbone": {"name": "encoder", "readout_grid": grid, "standardise": standardise}}
    if refused:
        with pytest.raises(ValidationError, match="hidden one counts as the mean"):
            Settings.model_validate(tree)
    else:
        Settings.model_validate(tree)
