"""Where a training run keeps its checkpoints: a folder named by everything that decides its result."""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.base.closure import code_digest
from pipeline.base.weights import sha256_of
from pipeline.base.work import STORE, work_key


def content_digest(paths: list[Path]) -> str:
    """sha256 over the names and bytes of files and folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name != ".gitignore":
                digest.update(f"{file.as_posix()}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def training_folder(stage: str, module: str, params: dict[str, Any], inputs: list[Path]) -> Path:
    """`.work/<stage>/<key>`; other keys of the stage are those of runs that cannot be resumed any more."""
    key = work_key(params=params, code=code_digest(module), inputs=content_digest(inputs))
    return STORE / stage / key
