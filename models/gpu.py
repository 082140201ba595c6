"""Which NVIDIA GPU is here, asked of the driver itself. No other package is needed for the question.

Asked before any import of TensorRT: some of its libraries end the process where there is no driver,
and nobody can catch that.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


class NoGpu(Exception):
    """No NVIDIA GPU can be used; the message says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU of this process."""

    name: str  # "NVIDIA L4"
    sm: int  # compute capability times ten: 89
    driver: int  # the newest CUDA that the driver serves, as it counts: 13000 is 13.0


def find_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """The GPU that CUDA would use. Raises NoGpu. `load` opens the driver's library."""
    try:
        driver = load(DRIVER)
    except OSError as error:
        raise NoGpu(f"there is no NVIDIA driver ({error})") from error
    version, device, major, minor = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(256)
    _ask(driver, "cuInit", 0)
    _ask(driver, "cuDriverGetVersion", ctypes.byref(version))
    _ask(driver, "cuDeviceGet", ctypes.byref(device), 0)
    _ask(driver, "cuDeviceGetName", name, len(name), device)
    _ask(driver, "cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
    _ask(driver, "cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode(errors="replace"), 10 * major.value + minor.value, version.value)


def _ask(driver: Any, call: str, *arguments: object) -> None:
    status = int(getattr(driver, call)(*arguments))
    if status != 0:
        raise NoGpu(f"the NVIDIA driver answers {call} with error {status}")
