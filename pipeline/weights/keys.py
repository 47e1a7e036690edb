"""Names of a checkpoint's tensors as their author's code has them: out of what they are nested in, prefixes taken off.

A checkpoint is a tree of mappings (`model`, `state_dict`, `teacher`, ...), and what wrapped a network when it was saved
stands before each name (`module.`, `backbone.`, ...). `tables` gives every reading of a tree, the likeliest first; what
a network is can be told by its own names alone (`published.py`), so the first reading that is recognised is the one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

# In the order of preference: averaged weights before the last ones (as timm takes them), a teacher before its student.
NESTS = ("state_dict_ema", "model_ema", "teacher", "model", "state_dict", "model_state_dict", "student", "net")
PREFIXES = (
    *("module.", "_orig_mod.", "model.", "encoder.", "backbone.", "net.", "network.", "base_model.", "teacher."),
    *("student.", "vit.", "trunk.", "visual.", "image_encoder.", "feature_extractor.", "state_dict.", "base_encoder."),
)
DEPTH = 4  # mappings within mappings, and prefixes before prefixes


@dataclass(frozen=True)
class Table:
    """Tensors by name, and what stood around them: the mappings (`model`) and the prefixes that were taken off."""

    tensors: dict[str, Tensor]
    nest: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()


def tables(stored: dict[str, Any]) -> Iterator[Table]:
    """Every reading of what a file holds."""
    for nested in _nested(stored, ()):
        yield from _without_prefixes(nested)


def _nested(stored: dict[str, Any], nest: tuple[str, ...]) -> Iterator[Table]:
    tensors = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
    if tensors:
        yield Table(tensors, nest)
    inner = {str(name): value for name, value in stored.items() if isinstance(value, dict)}
    if len(nest) < DEPTH:
        for name in sorted(inner, key=lambda name: (NESTS.index(name) if name in NESTS else len(NESTS), name)):
            yield from _nested(inner[name], (*nest, name))


def _without_prefixes(table: Table) -> Iterator[Table]:
    """The table, then what is left behind each prefix that any of its names has, and behind those in turn."""
    yield table
    if len(table.prefixes) == DEPTH:
        return
    for prefix in PREFIXES:
        inner = {name[len(prefix) :]: t for name, t in table.tensors.items() if name.startswith(prefix)}
        if inner:
            yield from _without_prefixes(Table(inner, table.nest, (*table.prefixes, prefix)))
