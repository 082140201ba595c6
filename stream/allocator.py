"""How a process that decodes one picture after another treats its freed memory."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_OWN_MAPPING_FROM = 32 << 20  # bytes; the most that glibc takes
_KEPT = 64 << 20  # bytes


def keep_freed_memory() -> None:
    """Serve buffers of pictures from memory of before; up to 64 MiB of it are not given back.

    By default glibc asks the kernel for such a buffer each time, which clears it page by page. Does nothing
    where the C library is another one than glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
