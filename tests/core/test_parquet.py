"""Columns of Parquet tables as arrays."""

import numpy as np
import pyarrow as pa

from pipeline.core.parquet import column_array
from pipeline.tables.scores import task_arrays


def test_column_array_reads_lists_after_a_filter():
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 3)
    table = pa.concat_tables([pa.table({"x": lists}), pa.table({"x": lists})])
    assert column_array(table["x"]).tolist() == np.tile(np.arange(12.0), 2).reshape(8, 3).tolist()
    kept = table.filter(pa.array([False, True] * 4))
    assert column_array(kept["x"])[:, 0].tolist() == [3, 9, 3, 9]
    assert column_array(table.slice(3, 2)["x"])[:, 0].tolist() == [9, 0]
    assert task_arrays("va", pa.table({"va": lists}))["va"].shape == (4, 3)
