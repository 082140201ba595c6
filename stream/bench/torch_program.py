"""Programs with torch: each runs as a process of its own, since the service has none."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from stream.errors import PixassayError

NO_TORCH = "needs torch, which is in the `train` extra: run `make dev` and use .venv-dev/bin/pixassay"


def has_torch() -> bool:
    """Whether such programs can run here."""
    return find_spec("torch") is not None


def output_of(module: str, arguments: Sequence[str]) -> str:
    """What `python -m module` prints. Raises PixassayError with its last words where it breaks off."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:]
        raise PixassayError(f"{module} broke off: {' '.join(last)}")
    return ended.stdout
