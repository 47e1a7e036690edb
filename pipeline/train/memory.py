"""Memory that training gives back and takes again at every update."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_KEPT_BYTES = 32 << 20  # glibc takes no higher threshold
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Have glibc keep what an update frees, for the next one.

    It hands blocks of some megabytes back to the kernel, which clears each page before it gives it out again: an
    eighth of an update's time on the CPU (`bench/memory.py`). The process is as large as at its peak until it ends.
    Other C libraries have no such setting; there nothing happens.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS lack the function, Windows the handle
        return
    set_option(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
    set_option(M_TRIM_THRESHOLD, NEVER)
