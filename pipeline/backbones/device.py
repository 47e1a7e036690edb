"""The device that networks run on, and the threads of the CPU's share."""

import os

import torch

from pipeline.run.parallel import available_cores


def device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def limit_threads() -> None:
    """Let torch use no more threads than this process gets cores, as in a container with a quota.

    `OMP_NUM_THREADS` decides where it is set, as it is in a stage (`stages/__init__.py`).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
