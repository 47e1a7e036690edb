"""How much two files differ, how far two submissions agree, and what of two machines is unlike."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from pipeline.audit.amount import amount
from pipeline.audit.rebuild import _not_here
from pipeline.audit.remade import agreement
from pipeline.run.machine import machine_facts, unlike


def test_tables_by_column(tmp_path: Path) -> None:
    for name, scores in (("a", [[0.5, 1.0], [2.0, float("nan")]]), ("b", [[0.5, 1.25], [2.0, float("nan")]])):
        column = pa.array(scores, pa.list_(pa.float32(), 2))
        pq.write_table(pa.table({"video": ["1", "1"], "scores": column}), tmp_path / f"{name}.parquet")
    assert amount(tmp_path / "a.parquet", tmp_path / "b.parquet") == "scores in 1 of 4 numbers, by 0.25 at most"
    assert amount(tmp_path / "a.parquet", tmp_path / "a.parquet") == "other bytes, the same content"


def test_tensors_json_and_text(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 1.5)):
        save_file({"w": np.array([0.0, value], np.float32)}, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.json").write_text(json.dumps({"score": value, "of": {"x": 1}}))
        (tmp_path / f"{name}.txt").write_text(f"image,class\n1.jpg,{value}\n")
    said = {end: amount(tmp_path / f"a.{end}", tmp_path / f"b.{end}") for end in ("safetensors", "json", "txt")}
    assert said == {
        "safetensors": "in 1 of 2 numbers, by 0.5 at most",
        "json": "1 of 2 values",
        "txt": "1 of 3 lines",
    }


def test_a_file_that_does_not_read_is_said_to_be_so(tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet", "a.safetensors", "b.safetensors", "a.json", "b.json"):
        (tmp_path / name).write_bytes(b"not one " + name.encode())
    for end in ("parquet", "safetensors", "json"):
        assert amount(tmp_path / f"a.{end}", tmp_path / f"b.{end}") == "other bytes, one of which does not read"


def test_decisions_and_scores_agree_by_their_kind() -> None:
    first = b"image,valence,arousal,expression,aus\n1.jpg,0.5,0.5,3,1,0,0,0,0,0,0,0,0,0,0,0\n"
    second = b"image,valence,arousal,expression,aus\n1.jpg,0.5,0.3,3,0,0,0,0,0,0,0,0,0,0,0,0\n"
    told = agreement("mtl", first, second)
    assert told.decisions == pytest.approx(12 / 13)
    assert told.distance == pytest.approx(0.1)
    assert agreement("expr", b"h\n1.jpg,3\n2.jpg,3\n", b"h\n1.jpg,3\n2.jpg,4\n").decisions == 0.5
    assert agreement("va", b"h\n1.jpg,0,0\n", b"h\n1.jpg,0,0\n").decisions is None
    with pytest.raises(ValueError, match="other rows"):
        agreement("expr", b"h\n1.jpg,3\n", b"h\n2.jpg,3\n")


def test_pins_that_are_not_installed() -> None:
    here = machine_facts()["libraries"]["numpy"]
    lock = f"numpy=={here} \\\n    --hash=sha256:00\npillow==0.0.1 ; sys_platform == 'win32'\ntimm==0.0.1 \\\n"
    assert _not_here(lock) == ["timm==0.0.1"]


def test_machines_are_unlike_by_what_decides_sums() -> None:
    here = machine_facts()
    assert here["threads"] >= 1 and here["libraries"]["torch"]
    assert unlike(here, here | {"processor": "another of the same kind"}) == []
    other = here | {"threads": 64, "instructions": ["avx2"], "libraries": here["libraries"] | {"torch": "1.0"}}
    told = unlike(here | {"instructions": ["avx2", "avx512f"]}, other)
    assert f"threads {here['threads']}, here 64" in told
    assert "instructions avx512f, here fewer" in told
    assert f"torch {here['libraries']['torch']}, here 1.0" in told
