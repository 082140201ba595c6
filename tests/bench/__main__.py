"""`make bench`: decode and engine on one set of generated photographs, as ratios within one run.

Prints one JSON object and keeps it under bench-output/. Figures depend on what else the machine does;
the ratios less so.
"""

import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from models.bundle import Bundle, load_bundle
from stream.decode import decode
from stream.decode_pool import limits_of
from stream.engines.openvino import OpenVinoEngine
from stream.settings import BUNDLED, Settings, load_settings

BATCHES = (1, 8, 32)
REPEATS = 5


def main() -> None:
    bundle, settings = load_bundle(BUNDLED), load_settings()
    files = [photograph(seed) for seed in range(16)]
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "bundle": bundle.id,
        "decode_and_views_images_per_core": round(decode_rate(files, bundle, settings), 1),
        "openvino_images_per_s": engine_rates(bundle),
        "openvino_over_onnxruntime": round(over_onnxruntime(bundle), 2),
    }
    text = json.dumps(report, indent=2)
    Path("bench-output").mkdir(exist_ok=True)
    Path("bench-output/bench.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def photograph(seed: int) -> bytes:
    """A 640x480 JPEG with the spectrum of a photograph: smooth noise, fine grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((640, 480))
    grain = rng.normal(0, 6, (480, 640, 3))
    pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=88)
    return target.getvalue()


def seconds(action: Callable[[], object]) -> float:
    """Median wall time of REPEATS runs, after one that warms up."""
    action()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def decode_rate(files: list[bytes], bundle: Bundle, settings: Settings) -> float:
    """Pictures a second that one core decodes and turns into views."""
    limits = limits_of(settings)
    views = bundle.manifest.views
    return len(files) / seconds(lambda: [decode(file, views, limits) for file in files])


def golden_batch(bundle: Bundle, size: int) -> dict[str, NDArray[np.uint8]]:
    views, _ = bundle.golden()
    return {name: np.resize(array, (size, *array.shape[1:])) for name, array in views.items()}


def engine_rates(bundle: Bundle) -> dict[str, float]:
    """Pictures a second through the engine on all cores, by batch size."""
    engine = OpenVinoEngine(bundle, os.cpu_count() or 1, max(BATCHES))
    rates = {}
    for size in BATCHES:
        batch = golden_batch(bundle, size)
        rates[str(size)] = round(size / seconds(lambda batch=batch: engine.score(batch)), 1)  # type: ignore[misc]
    return rates


def over_onnxruntime(bundle: Bundle) -> float:
    """OpenVINO against ONNX Runtime in fp32, batch 8, one thread each, in this run."""
    batch = golden_batch(bundle, 8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(bundle.onnx), options, providers=["CPUExecutionProvider"])
    engine = OpenVinoEngine(bundle, 1, 8)
    return seconds(lambda: session.run(None, batch)) / seconds(lambda: engine.score(batch))


if __name__ == "__main__":
    main()
