"""Own folds: whole base videos, so that the two people of one raw video are never on both sides."""

from collections.abc import Sequence

import numpy as np

from pipeline.abaw.names import base_video
from pipeline.abaw.resample import group_codes
from pipeline.core.errors import MienError


def grouped_folds(videos: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Fold index of each row, int64 of shape (rows,); `videos` names each row's video, with or without its side."""
    from sklearn.model_selection import GroupKFold  # a second of import that few callers need

    names, codes = group_codes(np.asarray(videos, dtype=object))
    bases, of_name = np.unique([base_video(name) for name in names], return_inverse=True)
    if len(bases) < folds:
        raise MienError(f"{len(bases)} raw videos cannot make {folds} folds. Mend: ask for fewer")
    assigned = np.zeros(len(bases), np.int64)
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)  # deals the videos, however many rows each has
    for fold, (_, dealt) in enumerate(splitter.split(bases, groups=bases)):
        assigned[dealt] = fold
    return assigned[of_name][codes]
