"""YAML that cannot be read is one kind of error, whatever PyYAML makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.audit.locks import parse_lock
from pipeline.core.errors import MienError
from pipeline.core.params import read_tree
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.weights import declared
from pipeline.release.label_map import read_map
from pipeline.retrain.changes import read_changes

VALUES = {
    "digits": "1" * 5000,
    "date": "2001-13-45",
    "zone": "2001-01-01 00:00:00+99:99",
    "empty number": "!!int ''",
    "no switch": "!!bool x",
    "no time": "!!timestamp x",
    "no number": "!!float x",
    "depth": "[" * 100_000 + "]" * 100_000,  # PyYAML's reader in C ends the process with a segmentation fault
}
READERS: dict[str, Callable[[Path], object]] = {
    "params": read_tree,
    "weights": declared,
    "label map": lambda path: read_map(path, "csv"),
    "changes": read_changes,
    "lock": lambda path: parse_lock({"dvc.lock": path.read_bytes()}, "here"),
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_cannot_be_made_is_a_yaml_error(value):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(f"a: {VALUES[value]}")


def test_what_is_yaml_is_read_as_plain_values():
    assert parse_yaml("a: [1, 2.5, x, true, null]") == {"a": [1, 2.5, "x", True, None]}
    assert parse_yaml(b"") is None


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_tells_it_in_one_line(tmp_path, reader, value):
    path = tmp_path / "file.yaml"
    path.write_text(f"a: {VALUES[value]}\n")
    with pytest.raises(MienError) as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
