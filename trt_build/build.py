"""Bundle -> TensorRT engine and sidecar, checked on the golden inputs before it is kept.

The plan has one optimisation profile for each batch bucket of each slot, of exactly that batch: kernels are
chosen for the very shape that runs, and no two contexts of the runner share a profile.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.bundle import Bundle
from models.engine_file import (
    EngineFileError,
    Precision,
    Profile,
    Sidecar,
    check,
    engine_path,
    read_sidecar,
    sidecar_path,
)
from trt_build.graph_file import read_graph
from trt_build.machine import Machine
from trt_build.network import BatchRange
from trt_build.precision import in_precision

BATCHES = (1, 8, 32, 64)
SLOTS = 2


class BadEngine(Exception):
    """An engine that does not compute what the bundle says."""


@dataclass(frozen=True, slots=True)
class Built:
    """An engine on disk."""

    path: Path
    sidecar: Sidecar
    reused: bool
    golden_error: float  # largest difference of a golden logit, over all profiles


def build_engine(
    bundle: Bundle,
    folder: Path,
    machine: Machine,
    precision: Precision = "f16",
    batches: Sequence[int] = BATCHES,
    slots: int = SLOTS,
) -> Built:
    """The engine of `bundle` for this machine in `folder`; built unless one that fits is there.

    Raises BadEngine (nothing is written then), CompileFault.
    """
    path = engine_path(folder, bundle, machine.gpu.sm)
    profiles = tuple(Profile(slot=slot, batch=batch) for slot in range(slots) for batch in sorted(batches))
    found = _fitting(path, bundle, machine, precision, profiles)
    if found is not None:
        return Built(path, found, True, verify_engine(path.read_bytes(), found, bundle, machine))
    started = time.perf_counter()
    graph = in_precision(read_graph(bundle.onnx), precision)
    plan = machine.compile(graph, [BatchRange(p.batch, p.batch, p.batch) for p in profiles])
    sidecar = Sidecar(
        bundle=bundle.id,
        onnx_sha256=bundle.graph_sha256,
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        precision=precision,
        tensorrt=machine.tensorrt,
        gpu=machine.gpu.name,
        sm=machine.gpu.sm,
        driver=machine.gpu.driver,
        profiles=profiles,
        build_s=round(time.perf_counter() - started, 1),
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    error = verify_engine(plan, sidecar, bundle, machine)
    _write(path, plan, sidecar)
    return Built(path, sidecar, False, error)


def verify_engine(plan: bytes, sidecar: Sidecar, bundle: Bundle, machine: Machine) -> float:
    """Run the golden inputs through every profile; the largest difference of a logit.

    Raises BadEngine beyond the tolerance that the bundle states for the engine's precision.
    """
    if hashlib.sha256(plan).hexdigest() != sidecar.engine_sha256:
        raise BadEngine("the engine is not the file that its sidecar describes; build it again")
    views, expected = bundle.golden()
    run = machine.load(plan)
    worst = 0.0
    for index, profile in enumerate(sidecar.profiles):
        rows = np.resize(np.arange(len(expected)), profile.batch)  # the golden inputs over and over
        logits = run(index, {name: array[rows] for name, array in views.items()})
        error = float(np.abs(logits.astype(np.float64) - expected[rows]).max())
        worst = max(worst, error if np.isfinite(error) else np.inf)
    allowed = bundle.manifest.golden_tolerance.get(sidecar.precision, 0.0)
    if not worst <= allowed:
        raise BadEngine(
            f"the {sidecar.precision} engine is {worst:.3g} off the golden logits of {bundle.id}, at most "
            f"{allowed:g} is allowed; build it in another precision"
        )
    return worst


def find_engine(bundle: Bundle, folder: Path, machine: Machine) -> tuple[Path, Sidecar]:
    """The engine that fits this bundle and machine. Raises EngineFileError saying why there is none."""
    path = engine_path(folder, bundle, machine.gpu.sm)
    sidecar = read_sidecar(path)
    check(sidecar, bundle, machine.gpu, machine.tensorrt)
    return path, sidecar


def _fitting(
    path: Path, bundle: Bundle, machine: Machine, precision: Precision, profiles: tuple[Profile, ...]
) -> Sidecar | None:
    try:
        _, sidecar = find_engine(bundle, path.parent, machine)
        whole = hashlib.sha256(path.read_bytes()).hexdigest() == sidecar.engine_sha256
    except (EngineFileError, OSError):
        return None
    return sidecar if whole and (sidecar.precision, sidecar.profiles) == (precision, profiles) else None


def _write(path: Path, plan: bytes, sidecar: Sidecar) -> None:
    """Engine first: a worker that starts in between sees two that do not match, and says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = sidecar.model_dump_json(indent=2, by_alias=True) + "\n"
    for target, data in ((path, plan), (sidecar_path(path), text.encode())):
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(data)
        part.replace(target)
