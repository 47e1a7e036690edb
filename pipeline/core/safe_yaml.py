"""YAML that somebody wrote: read as plain values, and whatever is wrong with it is one kind of error."""

from collections.abc import Callable
from typing import Any

import yaml

DEEPEST = 100  # levels: PyYAML's readers recurse, and the one in C ends the process at some ten thousand
UNCAUGHT = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


def parse_yaml(text: str | bytes, load: Callable[[str | bytes], Any] = yaml.safe_load) -> Any:
    """The plain values of a YAML text; `yaml.YAMLError` where it is none or one of its values cannot be made.

    PyYAML lets the second through as they come: a number of 5,000 digits and the date 2001-13-45 are a ValueError,
    `!!bool x` a KeyError, `!!int ''` an IndexError, `!!timestamp x` an AttributeError.
    """
    _refuse_depth(text)
    try:
        return load(text)
    except UNCAUGHT as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None


def _refuse_depth(text: str | bytes) -> None:
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise yaml.YAMLError(f"line {line}: more than {DEEPEST} lists or mappings deep")
