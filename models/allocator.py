"""How a process treats the memory that pictures took. Nothing happens where the C library is not glibc."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """For decoding one picture after another: serve buffers from memory of before; 64 MiB are not given back.

    By default glibc asks the kernel for such a buffer each time, which clears it page by page.
    """
    _set({_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20})  # 32 MiB: the most that glibc takes


def give_back_large_blocks() -> None:
    """For runs that keep something of each of thousands of pictures: large blocks get mappings of their own.

    By default glibc raises the size from which they do, up to 32 MiB; what is kept then stands between holes
    that fit pictures of no other size: 4 MB of them a picture.
    """
    _set({_M_MMAP_THRESHOLD: 1 << 20})


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
