"""file:// URIs: regular files below the configured folders, and nothing else of the machine."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from stream.errors import CannotEvaluate, Outage, PixassayError, Undeliverable
from stream.reasons import Reason

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENXIO})  # ENXIO: a socket or a device


def read_file(rest: str, roots: Sequence[Path], cap: int) -> bytes:
    """The bytes of the file that `rest`, a file URI behind "file://", names (RFC 8089, percent-encoded).

    Raises CannotEvaluate (gone, over `cap` bytes), Undeliverable (outside of the roots, not a
    regular file, refused) and Outage (the disk or the network file system does not answer).
    """
    host, slash, encoded = rest.partition("/")
    named = "/" + unquote(encoded)
    if host not in ("", "localhost") or not slash or "\0" in named:
        raise Undeliverable(Reason.URI_NOT_ALLOWED, f"file://{rest[:200]} is not a path on this machine")
    try:
        # Checked before any look at the file: what exists outside of the roots is nobody's business.
        real = os.path.realpath(named)
        _require_inside(real, roots)
        with open(real, "rb", opener=_open_plainly) as stream:
            # Checked again on what was opened: a folder on the way may have become a symbolic link.
            _require_inside(os.path.realpath(f"/proc/self/fd/{stream.fileno()}"), roots)
            _require_readable(os.fstat(stream.fileno()), named, cap)
            data = stream.read(cap + 1)
    except OSError as error:
        raise _translated(error, named) from error
    if len(data) > cap:
        raise CannotEvaluate(Reason.TOO_MANY_BYTES, f"{named} has more than {cap} bytes")
    return data


def _open_plainly(path: str, flags: int) -> int:
    """No symbolic link as the last step, and no wait for a writer at the other end of a named pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _require_inside(real: str, roots: Sequence[Path]) -> None:
    if not any(Path(real).is_relative_to(root.resolve()) for root in roots):
        raise Undeliverable(Reason.URI_NOT_ALLOWED, "the file is not below PIXASSAY_FILE_ROOTS")


def _require_readable(status: os.stat_result, named: str, cap: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Undeliverable(Reason.URI_NOT_ALLOWED, f"{named} is not a regular file")
    if status.st_size > cap:
        raise CannotEvaluate(Reason.TOO_MANY_BYTES, f"{named} has {status.st_size} bytes, at most {cap}")


def _translated(error: OSError, named: str) -> PixassayError:
    if error.errno in _GONE:
        return CannotEvaluate(Reason.NOT_FOUND, f"{named}: {error.strerror}")
    if error.errno == errno.EISDIR:
        return Undeliverable(Reason.URI_NOT_ALLOWED, f"{named} is a folder")
    if error.errno in _REFUSED:
        return Undeliverable(Reason.ACCESS_DENIED, f"{named}: {error.strerror}")
    return Outage("object store", f"{named}: {error.strerror}")
