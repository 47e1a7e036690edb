"""Own folds: whole base videos, so that the two people of one raw video are never on both sides."""

from collections.abc import Sequence

import numpy as np

from pipeline.abaw.names import base_video
from pipeline.core.errors import MienError


def grouped_folds(videos: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Fold index of each row, int64 of shape (rows,); `videos` names each row's video, with or without its side."""
    from sklearn.model_selection import GroupKFold  # a second of import that few callers need

    names = np.asarray(videos, dtype=str)
    distinct, codes = np.unique(names, return_inverse=True)
    groups = np.array([base_video(name) for name in distinct])[codes]
    if len(set(groups)) < folds:
        raise MienError(f"{len(set(groups))} raw videos cannot make {folds} folds. Mend: ask for fewer")
    assigned = np.zeros(len(groups), np.int64)
    splitter = GroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(groups, groups=groups)):
        assigned[rows] = fold
    return assigned
