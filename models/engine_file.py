"""A built TensorRT engine on disk: where it lies, and the sidecar that says what it fits. No TensorRT here.

An engine runs on the GPU and with the TensorRT that it was built for, and is right for one graph only.
`trt_build` writes the pair, `stream` reads it; this is their contract.
"""

import hashlib
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import Bundle, first_fault
from models.gpu import Gpu

ENGINE_SCHEMA: Final = "pixassay.engine/1"
ENGINES = Path("~/.cache/pixassay/engines")  # where engines lie unless told otherwise
Precision = Literal["f32", "f16", "bf16"]


class EngineFileError(Exception):
    """There is no engine that fits; the message says why, as the end of a sentence."""


class Profile(BaseModel):
    """One optimisation profile: one batch size, for one slot of the runner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slot: int = Field(ge=0)
    batch: int = Field(ge=1)


class Sidecar(BaseModel):
    """The JSON file beside an engine. Profiles are in the order of TensorRT's profile index."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["pixassay.engine/1"] = Field(default=ENGINE_SCHEMA, alias="schema")
    bundle: str
    onnx_sha256: str  # of the bundle's graph and weights, before its precision was changed
    engine_sha256: str
    precision: Precision
    tensorrt: str
    gpu: str
    sm: int
    driver: int
    profiles: tuple[Profile, ...] = Field(min_length=1)
    build_s: float
    built_at: str  # RFC 3339

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch buckets, ascending."""
        return tuple(sorted({profile.batch for profile in self.profiles}))

    @property
    def slots(self) -> int:
        """How many batches may be under way at once."""
        return len({profile.slot for profile in self.profiles})

    def profile(self, slot: int, batch: int) -> int:
        """TensorRT's index of the profile for this slot and batch. Raises ValueError."""
        return self.profiles.index(Profile(slot=slot, batch=batch))


def engine_path(folder: Path, bundle: Bundle, sm: int) -> Path:
    """Where the engine of this bundle for GPUs of this compute capability lies."""
    return folder.expanduser() / f"{bundle.id}-sm{sm}.engine"


def sidecar_path(engine: Path) -> Path:
    """The sidecar's place."""
    return engine.with_suffix(".json")


def read_engine(engine: Path, bundle: Bundle, gpu: Gpu, tensorrt: str) -> tuple[Sidecar, bytes]:
    """The sidecar and the engine's bytes, where both fit this machine. Raises EngineFileError."""
    sidecar = read_sidecar(engine)
    check(sidecar, bundle, gpu, tensorrt)
    try:
        data = engine.read_bytes()
    except OSError as error:
        raise EngineFileError(f"{engine} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sidecar.engine_sha256:
        raise EngineFileError(f"{engine} is not the file that its sidecar describes: the hashes differ")
    return sidecar, data


def read_sidecar(engine: Path) -> Sidecar:
    """What the sidecar of `engine` says. Raises EngineFileError."""
    file = sidecar_path(engine)
    try:
        return Sidecar.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise EngineFileError(f"none was built here ({file} is missing)") from error
    except OSError as error:
        raise EngineFileError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise EngineFileError(f"{file}: {first_fault(error, 'sidecar')}") from error


def check(sidecar: Sidecar, bundle: Bundle, gpu: Gpu, tensorrt: str) -> None:
    """Raises EngineFileError naming the first thing that differs. A newer driver is no difference."""
    pairs: dict[str, tuple[object, object]] = {
        "graph": (sidecar.onnx_sha256, bundle.graph_sha256),
        "TensorRT": (sidecar.tensorrt, tensorrt),
        "GPU": (sidecar.gpu, gpu.name),
        "compute capability": (sidecar.sm, gpu.sm),
    }
    for what, (built, here) in pairs.items():
        if built != here:
            raise EngineFileError(f"it was built for another {what}: {built}, but here it is {here}")
    if gpu.driver < sidecar.driver:
        raise EngineFileError(
            f"it was built with a newer CUDA driver: {sidecar.driver}, but here it is {gpu.driver}"
        )
