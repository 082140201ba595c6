"""Large blocks of memory go back to the system at once. No torch here."""

import ctypes

_M_MMAP_THRESHOLD = -3  # <malloc.h>
_OWN_MAPPING_FROM = 1 << 20  # bytes


def give_back_large_blocks() -> None:
    """Pictures and what is made of them get mappings of their own, for as long as this process lives.

    By itself glibc raises the size from which it does so, up to 32 MB; in a run over thousands of pictures of
    all sizes, what is kept of each then stands between holes that fit no other: 4 MB of them a picture.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_FROM)
