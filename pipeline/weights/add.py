"""Convert a published weight file to safetensors, check that it fills its network, and declare it in weights.yaml."""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from models.dan import Dan
from models.mini_xception import MiniXception
from models.normalise import Normalise
from pipeline.backbones.build import declared_backbone
from pipeline.backbones.features import OnnxNetwork
from pipeline.backbones.loading import fill
from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path, atomic_write_text, file_digest
from pipeline.core.secrets import redacted
from pipeline.core.tensors import save_tensors
from pipeline.core.weights import DECLARATIONS, Architecture, Normalisation, Weights, declared
from pipeline.weights.keys import Table, tables
from pipeline.weights.known import Origin
from pipeline.weights.published import Published, by_name, recognise
from pipeline.weights.read import read_stored

WEIGHTS = Path("weights")  # where converted files lie
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SHOWN = 3


@dataclass(frozen=True)
class Told:
    """What a user says of a network that its file does not; `normalisation` is what differs from the usual one."""

    architecture: str | None = None
    heads: int | None = None
    normalisation: dict[str, Any] = field(default_factory=dict)


def add(path: Path, name: str, origin: Origin, told: Told) -> int:
    """Convert, check, publish `weights/<name>.safetensors`, declare it, and say how it is used. Returns the exit code.

    An ONNX file that kept no parameter names is copied as it is, where it is a network that cache_features can run.
    Raises `MienError` for a file that is not what it should be; nothing is written then.
    """
    if not NAME.fullmatch(name):
        raise MienError(f"--name {name}: use letters, digits, dots, dashes and underscores", exit_code=2)
    if redacted(origin.source) != origin.source:
        raise MienError("--source holds credentials; weights.yaml is shared, leave them out", exit_code=2)
    found = find(path, told)
    if found is None:
        return _add_onnx(path, name, origin)
    published, table = found
    kept, left_out = fitting(published, path)
    normalisation = _corrected(published.normalisation, told)
    target = WEIGHTS / f"{name}.safetensors"
    with atomic_path(target) as temporary:
        save_tensors(temporary, kept)
        entry = _entry(temporary, target.name, origin, published.architecture, normalisation)
    _declare(target.name, entry)
    _tell(target, published.architecture, normalisation)
    if table.nest:
        print(f"  found in {'.'.join(table.nest)}")
    if table.prefixes:
        print(f"  taken off: `{''.join(table.prefixes)}`")
    if left_out:
        parts = Counter(name.split(".")[0] for name in left_out)
        print(f"  left out: {', '.join(f'{part} ({count})' for part, count in parts.items())}")
    return 0


# --- what it is ------------------------------------------------------------------------------------------------------


def find(path: Path, told: Told) -> tuple[Published, Table] | None:
    """The network in a file and where in it; None for an ONNX file whose names say nothing."""
    read = by_name(told.architecture) if told.architecture else partial(recognise, heads=told.heads)
    readings, fault = list(tables(read_stored(path))), ""
    for table in readings:
        try:
            found = read(table.tensors)
        except MienError as error:
            raise MienError(f"{path}: {error}", error.exit_code) from None
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            # shapes that the names do not promise, met by our own readers or by timm's filter
            fault = fault or " ".join(str(error).split())[:160]
            continue
        if found is not None:
            return found, table
    if fault:
        raise MienError(f"{path}: its names are those of a network known here, its shapes are not ({fault})")
    if path.suffix.lower() == ".onnx" and told.architecture is None:
        return None
    if not readings:
        raise MienError(f"{path}: holds no tensors")
    names = list(readings[0].tensors)
    what = f"no {told.architecture}" if told.architecture else "no network known here"
    mend = "" if told.architecture else "; if timm has it, name it with --architecture"
    raise MienError(f"{path}: {what}: {len(names)} tensors, {', '.join(names[:SHOWN])} first{mend}")


def _corrected(normalisation: Normalisation, told: Told) -> Normalisation:
    """With what the user says of it."""
    if normalisation.colours == "grey" and "colours" in told.normalisation:
        raise MienError("--colours: this network sees grey pictures; leave it out", exit_code=2)
    try:
        return Normalisation.model_validate(normalisation.model_dump() | told.normalisation)
    except ValidationError as error:
        first = error.errors()[0]
        raise MienError(f"--{first['loc'][0]}: {first['msg']}", exit_code=2) from None


def fitting(published: Published, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors that fill the network, as float32, and the names of the rest (classifiers, decoders).

    Raises `MienError` where one is missing, of another shape, not finite, or would be a part of the network that ours
    does not have: then its output would be another.
    """
    network = random_network(published.architecture)
    own = network.state_dict()
    tops = {name.split(".")[0] for name in own}
    if strange := next((n for n in published.tensors if n not in own and n.split(".")[0] in tops), None):
        raise MienError(
            f"{path}: {strange} has no place in a {published.architecture.network}, whose output would be another; if "
            "timm has the network, name it with --architecture"
        )
    kept = {n: t.float() if t.is_floating_point() else t for n, t in published.tensors.items() if n in own}
    if broken := next((n for n, t in kept.items() if not torch.isfinite(t).all()), None):
        raise MienError(f"{path}: {broken} holds numbers that are not finite; the file is damaged, fetch it again")
    fill(network, kept, path, published.architecture.network)
    return kept, [name for name in published.tensors if name not in own]


def random_network(architecture: Architecture) -> nn.Module:
    """The network that a declared file fills, its weights random."""
    if architecture.network == "dan":
        sizes: dict[str, Any] = dict(architecture.sizes)
        return Dan(image_pixels=1, label_smoothing=0.0, **sizes)
    if architecture.network == "mini_xception":
        return MiniXception(**architecture.sizes)  # type: ignore[arg-type]
    backbone = declared_backbone(architecture, Normalise(), None)
    return backbone.get_submodule(backbone.trunk)


# --- written and told ------------------------------------------------------------------------------------------------


def _entry(
    file: Path, name: str, origin: Origin, architecture: Architecture, normalisation: Normalisation | None
) -> Weights:
    """What weights.yaml is to say of `file` under a name; `MienError` where it says something else already."""
    entry = Weights(
        source=origin.source,
        sha256=file_digest(file),
        licence=origin.licence,
        trained_on=origin.trained_on,
        label_types=origin.label_types,
        architecture=architecture,
        normalisation=normalisation,
    )
    if declared().get(name, entry) != entry:
        raise MienError(f"{DECLARATIONS}: {name} is declared otherwise; use another --name, or remove the entry there")
    return entry


def _declare(name: str, entry: Weights) -> None:
    """Append an entry to weights.yaml, all else as it is; once."""
    if name in declared():
        return
    text = DECLARATIONS.read_text(encoding="utf-8")
    text += "" if not text or text.endswith("\n") else "\n"
    tree = {name: entry.model_dump(exclude_none=True, exclude_defaults=True)}
    lines = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    atomic_write_text(DECLARATIONS, text + lines)


def _add_onnx(path: Path, name: str, origin: Origin) -> int:
    """Declare an ONNX file as it is: a face network that `cache_features` runs with `name: onnx`."""
    try:
        network = OnnxNetwork(path)
    except MienError:
        raise MienError(
            f"{path}: its export kept no parameter names, and it is not a face network of insightface's either; take "
            "the .pth or .safetensors of the same network"
        ) from None
    data, target = path.read_bytes(), WEIGHTS / f"{name}.onnx"
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
        entry = _entry(temporary, target.name, origin, Architecture(network="onnx"), None)
    _declare(target.name, entry)
    print(f"{target}: an ONNX face network for {network.pixels} pixels, kept as it is and declared in {DECLARATIONS}")
    print(f"use it as cached features: `weights: {target}` in graph.features, `name: onnx` in cache_features.backbones")
    return 0


def _tell(target: Path, architecture: Architecture, seen: Normalisation) -> None:
    sizes = ", ".join(f"{key} {value}" for key, value in architecture.sizes.items())
    print(f"{target}: {architecture.network}{f' ({sizes})' if sizes else ''}, declared in {DECLARATIONS}")
    use = "systems.emma.cnn.weights: {}" if architecture.network == "dan" else "backbone: {{weights: {}}}"
    print(f"  in params.yaml: {use.format(target)}")
    print(
        f"  expects {seen.pixels} pixels, {seen.colours}, mean {seen.mean}, std {seen.std}; where its authors say "
        "otherwise, correct the entry"
    )
