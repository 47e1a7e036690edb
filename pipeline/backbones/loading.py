"""Weights from disk into a network: what fits, at the network's own input size, or one line that says what does not."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from pipeline.core.errors import MienError
from pipeline.core.paths import ARTIFACTS
from pipeline.core.weights import add_mend, verify

# forms that `mien weights add` is asked about
PUBLISHED = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".onnx", ".pkl", ".h5", ".hdf5")


def load_weights(module: nn.Module, path: Path, what: str) -> None:
    """Fill a module from a safetensors file: one that this pipeline made, or one declared in weights.yaml.

    Tensors that the module does not have (a classifier) are left out; one that it misses is an error.
    """
    check_form(path)
    if not path.is_file() or path.suffix != ".safetensors":
        raise MienError(f"params.yaml: {path} is not a safetensors file; put the weights of {what} there")
    if not path.is_relative_to(ARTIFACTS):
        verify(path.name, path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise MienError(f"{path}: not a safetensors file ({error}); fetch it again") from None
    fill(module, tensors, path, what)


def check_form(path: Path) -> None:
    """Refuse a file in a form that `mien weights add` converts."""
    if mend := _conversion(path.as_posix()):
        raise MienError(f"params.yaml: {path} is not a safetensors file; {mend}")


def _conversion(weights: str) -> str | None:
    """The mend for weights in a form that cannot be read here: the command that converts them; None for all others."""
    path = PurePosixPath(weights)
    if weights.startswith(("hf-hub:", "hf_hub:", "http:", "https:")):
        name = path.stem or "NAME"
        return f"nothing is fetched in a run: download the file yourself, then {add_mend('FILE', name)}"
    if path.suffix.lower() in PUBLISHED:
        name = path.name.split(".")[0]
        return f"convert it with {add_mend(weights, name)} and name weights/{name}.safetensors instead"
    return None


def _is_local(value: str) -> str:
    if mend := _conversion(value):
        raise ValueError(f"{value} cannot be read as it is; {mend}")
    return value


Local = Annotated[str, AfterValidator(_is_local)]  # in params: a name or a file that needs no fetching or converting


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, what: str) -> None:
    """Put tensors into a module, position embeddings resampled to its input size; `path` is named in errors."""
    try:
        missing, unknown = module.load_state_dict(resampled(module, tensors), strict=False)
    except RuntimeError as error:
        raise MienError(f"{path}: not the weights of {what}: {str(error).splitlines()[1].strip()}") from None
    if not missing:
        return
    fault = f"{path}: not the weights of {what}: {missing[0]} and {len(missing) - 1} more are missing"
    wrapped = next((name for name in unknown if name.endswith(f".{missing[0]}")), None)
    if wrapped is not None:
        prefix = wrapped.removesuffix(missing[0])
        mend = add_mend(path.as_posix(), path.stem)
        raise MienError(f"{fault}; its names begin with `{prefix}`, which {mend} takes off")
    raise MienError(fault)


def resampled(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the position embedding at the raster of `module`, by timm's own resampling.

    Unchanged where the module has no such embedding, or the tensor is no square raster of its width behind as many
    other tokens: then it does not fit, and loading says so.
    """
    network: Any = module
    position, own = tensors.get("pos_embed"), getattr(network, "pos_embed", None)
    if position is None or own is None or position.ndim != 3 or position.shape[2] != own.shape[2]:
        return tensors
    prefix = 0 if getattr(network, "no_embed_class", False) else getattr(network, "num_prefix_tokens", 0)
    places = position.shape[1] - prefix
    if position.shape == own.shape or places < 1 or round(places**0.5) ** 2 != places:
        return tensors
    raster = list(network.patch_embed.grid_size)
    return tensors | {"pos_embed": resample_abs_pos_embed(position, raster, num_prefix_tokens=prefix)}
