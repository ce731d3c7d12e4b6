"""A worker's heap: pages of Sage are megabytes that come and go, and must not leave holes behind.

glibc takes a large block from the heap once a block of that size was freed, and so a worker would grow for as long as it reads.
Told where "large" begins, it maps each such block by itself and gives it back at once.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 512 * 1024
SPARE_BYTES: Final = 2 * 1024 * 1024  # free at the end of the heap before it shrinks


def give_back_large_blocks() -> None:
    """For this process, from now on. Where the C library has no such switch, nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES)
