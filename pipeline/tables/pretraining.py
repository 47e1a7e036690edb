"""Which videos of which data set pretraining may read: all that it is told of the splits, so that nothing else of them
makes it stale.
"""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from pipeline.core.graph import dataset_of
from pipeline.core.parquet import read_parquet
from pipeline.core.paths import EXTERNAL, EXTRA, MANIFEST

PRETRAINING = MANIFEST / "pretraining.parquet"


def split_sets(folders: Collection[str]) -> set[str]:
    """The data sets with a split among folders of faces: neither external ones nor the pool."""
    own = [Path(folder) for folder in folders if not Path(folder).is_relative_to(EXTERNAL)]
    return {dataset_of(folder) for folder in own} - {EXTRA}


def pretraining_table(splits: pa.Table, datasets: Collection[str]) -> pa.Table:
    """Data set and video of each video that is for training in every track that has it; sorted."""
    rows = list(zip(*splits.select(["dataset", "video", "split"]).to_pydict().values(), strict=True))
    held_back = {(dataset, video) for dataset, video, split in rows if split != "train"}
    pairs = sorted({(dataset, video) for dataset, video, _ in rows if dataset in datasets} - held_back)
    columns = {"dataset": [dataset for dataset, _ in pairs], "video": [video for _, video in pairs]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def training_videos(dataset: str) -> set[str] | None:
    """Videos of a data set that pretraining may read; None for the extras, which have no split."""
    if dataset == EXTRA:
        return None
    table = read_parquet(PRETRAINING).to_pydict()
    return {video for name, video in zip(table["dataset"], table["video"], strict=True) if name == dataset}
