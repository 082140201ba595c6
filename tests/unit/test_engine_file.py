"""The sidecar decides whether an engine fits; the driver is asked for the GPU before anything else."""

import ctypes
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx

from models.bundle import Bundle
from models.engine_file import EngineFileError, Profile, Sidecar, engine_path, read_engine, sidecar_path
from models.gpu import Gpu, NoGpu, find_gpu
from stream.engines import tensorrt as engine_module
from stream.engines.tensorrt import load_tensorrt
from stream.errors import ConfigError

GPU = Gpu("NVIDIA L4", 89, 13000)


@pytest.fixture
def built(tmp_path: Path, tiny_bundle: Bundle) -> tuple[Path, dict[str, Any]]:
    """An engine file and its sidecar that fit `GPU` and TensorRT 11.4."""
    engine = engine_path(tmp_path, tiny_bundle, GPU.sm)
    engine.write_bytes(b"plan")
    sidecar = Sidecar(
        bundle=tiny_bundle.id,
        onnx_sha256=tiny_bundle.manifest.files["ensemble.onnx"],
        engine_sha256=hashlib.sha256(b"plan").hexdigest(),
        precision="f16",
        tensorrt="11.4",
        gpu=GPU.name,
        sm=GPU.sm,
        driver=GPU.driver,
        profiles=tuple(Profile(slot=slot, batch=batch) for slot in (0, 1) for batch in (1, 8)),
        build_s=2.5,
        built_at="2026-11-01T00:00:00Z",
    )
    sidecar_path(engine).write_text(sidecar.model_dump_json(by_alias=True), encoding="utf-8")
    return engine, json.loads(sidecar_path(engine).read_text(encoding="utf-8"))


def test_an_engine_that_fits_is_read(built: tuple[Path, dict[str, Any]], tiny_bundle: Bundle) -> None:
    sidecar, data = read_engine(built[0], tiny_bundle, GPU, "11.4")
    assert (data, sidecar.batches, sidecar.slots) == (b"plan", (1, 8), 2)
    assert [sidecar.profile(slot, batch) for slot in (0, 1) for batch in (1, 8)] == [0, 1, 2, 3]


def test_a_newer_driver_fits(built: tuple[Path, dict[str, Any]], tiny_bundle: Bundle) -> None:
    assert read_engine(built[0], tiny_bundle, Gpu(GPU.name, 89, 13010), "11.4")[1] == b"plan"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("onnx_sha256", "0" * 64, "another graph"),
        ("tensorrt", "11.3", r"another TensorRT: 11\.3, but here it is 11\.4"),
        ("gpu", "NVIDIA A100", "another GPU: NVIDIA A100, but here it is NVIDIA L4"),
        ("sm", 80, "another compute capability: 80"),
        ("driver", 13020, "newer CUDA driver: 13020, but here it is 13000"),
        ("engine_sha256", "0" * 64, "the hashes differ"),
        ("precision", "int3", "precision"),
        ("schema", "pixassay.engine/0", "schema"),
        ("profiles", [], "profiles"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused_with_the_difference(
    built: tuple[Path, dict[str, Any]], tiny_bundle: Bundle, field: str, value: object, message: str
) -> None:
    engine, fields = built
    sidecar_path(engine).write_text(json.dumps({**fields, field: value}), encoding="utf-8")
    with pytest.raises(EngineFileError, match=message):
        read_engine(engine, tiny_bundle, GPU, "11.4")


def test_a_missing_half_is_named(built: tuple[Path, dict[str, Any]], tiny_bundle: Bundle) -> None:
    engine, _ = built
    engine.unlink()
    with pytest.raises(EngineFileError, match=r"\.engine cannot be read: No such file"):
        read_engine(engine, tiny_bundle, GPU, "11.4")
    sidecar_path(engine).unlink()
    with pytest.raises(EngineFileError, match="none was built here"):
        read_engine(engine, tiny_bundle, GPU, "11.4")


class Driver:
    """libcuda.so.1 by its calls; `fail` names the one that answers with an error."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail

    def __getattr__(self, call: str) -> Any:
        def answer(*arguments: Any) -> int:
            if call == self.fail:
                return 100
            if call == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA L4"
            elif call == "cuDriverGetVersion":
                arguments[0]._obj.value = 13000
            elif call == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 8, 76: 9}[arguments[1]]
            return 0

        return answer


def test_the_driver_is_asked_for_the_gpu() -> None:
    assert find_gpu(lambda name: Driver()) == GPU


@pytest.mark.parametrize("call", ["cuInit", "cuDriverGetVersion", "cuDeviceGet", "cuDeviceGetName"])
def test_each_refusal_of_the_driver_is_named(call: str) -> None:
    with pytest.raises(NoGpu, match=f"the NVIDIA driver answers {call} with error 100"):
        find_gpu(lambda name: Driver(call))


def test_no_driver_is_one_sentence() -> None:
    with pytest.raises(NoGpu, match=r"there is no NVIDIA driver \(libnot-there"):
        find_gpu(lambda name: ctypes.CDLL("libnot-there.so.1"))


def test_without_a_gpu_tensorrt_is_never_imported(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    def no_gpu() -> Gpu:
        raise NoGpu("there is no NVIDIA driver")

    monkeypatch.setattr(engine_module, "find_gpu", no_gpu)
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # an import would raise ImportError
    with pytest.raises(ConfigError, match="TensorRT cannot run here: there is no NVIDIA driver; set"):
        load_tensorrt(tiny_bundle, tmp_path)


def test_a_gpu_without_tensorrt_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_module, "find_gpu", lambda: GPU)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ConfigError, match=r"TensorRT is not installed.*requirements/gpu.txt"):
        load_tensorrt(tiny_bundle, tmp_path)


def test_a_gpu_without_an_engine_is_told_how_to_build_one(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine_module, "find_gpu", lambda: GPU)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_rtx)
    with pytest.raises(ConfigError, match=r"on this NVIDIA L4: none was built here .* pixassay engine build"):
        load_tensorrt(tiny_bundle, tmp_path)
