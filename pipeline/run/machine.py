"""What of a machine decides the last bits of a result: in which order and how wide it sums.

Two runs of the same code, params and data give the same bytes where these agree; where they do not, sums of floats may
end in another last digit, and a training goes on from there.
"""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.run.parallel import available_cores
from pipeline.run.ranks import ranks

CPUINFO = Path("/", "proc", "cpuinfo")
NUMERIC = ("torch", "torchvision", "timm", "numpy", "scipy", "onnxruntime", "opencv-python", "pyarrow")
# Instructions by which torch, numpy and their BLAS choose their code.
CHOOSING = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_bf16")
ARM = ("asimd", "bf16", "sve")


def machine_facts() -> dict[str, Any]:
    """Processor, instructions, threads, libraries and, where torch has one in use, the GPU."""
    told = _cpuinfo()
    flags = set(told.get("flags", told.get("Features", "")).split())
    facts = {
        "processor": told.get("model name", platform.processor() or platform.machine()),
        "vendor": told.get("vendor_id", ""),
        "instructions": [name for name in (*CHOOSING, *ARM) if name in flags],
        "threads": _threads(),
        "libraries": {name: found for name in NUMERIC if (found := _version(name))},
    }
    gpu = _gpu()
    if ranks() > 1:
        facts["processes"] = ranks()
    return facts | {"gpu": gpu} if gpu else facts


def unlike(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What of two machines is not the same, a phrase each; the name of the processor alone decides nothing."""
    told = []
    for name in ("vendor", "instructions", "threads", "processes", "libraries", "gpu"):
        one, other = first.get(name), second.get(name)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            names = [key for key in one | other if one.get(key) != other.get(key)]
            told += [f"{key} {one.get(key)}, here {other.get(key)}" for key in names]
        elif isinstance(one, list) and isinstance(other, list):
            lost, gained = (" ".join(n for n in a if n not in b) for a, b in ((one, other), (other, one)))
            told.append(f"{name} {lost or 'fewer'}, here {gained or 'fewer'}")
        else:
            told.append(f"{name} {one}, here {other}")
    return told


def _cpuinfo() -> dict[str, str]:
    """The first processor that the kernel tells of; empty where there is none."""
    try:
        block = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _threads() -> int:
    """Threads that a sum is spread over: torch's where it is loaded, else what it would take."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else available_cores()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> str | None:
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None
