"""The parts of `pixassay bench` that could make its figures wrong without a word."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.bundle import BUNDLED, Bundle, load_bundle
from models.spec import ViewSpec
from models.towers.clip import PRESETS
from models.towers.registry import empty_tower
from models.towers.vit import VitTower
from stream.bench.arithmetic import network_gflop
from stream.bench.contest import Contestant, Lap
from stream.bench.contestants import judging_variables
from stream.bench.lane import Figures
from stream.bench.page import BEGIN, END, random_markers, write_page, write_random
from stream.bench.processor import cpu_seconds, family
from stream.bench.random_vit import PROGRAM, RandomVit
from stream.bench.torch_program import output_of
from stream.decide import Judge
from stream.errors import PixassayError
from stream.policy import load_policy
from stream.settings import load_settings
from trt_build.bench.engines import TORCH, measure
from trt_build.bench.prefix import DEPTH, arithmetic_gain
from trt_build.bench.separate import separate_detectors
from trt_build.bench.vit_bundle import vit_ensemble, write_vit_bundle

SHAPES: dict[str, list[str | int | None]] = {"in": ["batch", 3, 8, 8], "out": ["batch", 10]}


def test_the_arithmetic_gain_of_a_shared_prefix() -> None:
    assert arithmetic_gain(12, 0) == 1
    assert arithmetic_gain(12, 6) == 1.5
    assert arithmetic_gain(12, 9) == 2


def test_the_products_of_a_network_are_counted_by_hand(tmp_path: Path) -> None:
    """Full and depthwise convolution of 8 x 8 pixels, then a matrix; any batch, one picture counts."""
    weights = {"full": (4, 3, 3, 3), "depthwise": (4, 1, 3, 3), "matrix": (4 * 8 * 8, 10)}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in SHAPES.items()]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["in", "full"], ["a"], pads=[1] * 4),
            helper.make_node("Conv", ["a", "depthwise"], ["b"], pads=[1] * 4, group=4),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("MatMul", ["c", "matrix"], ["out"]),
        ],
        "counted",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()],
    )
    file = tmp_path / "counted.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    terms = 4 * 64 * 27 + 4 * 64 * 9 + 256 * 10
    assert network_gflop(file) == pytest.approx(2 * terms / 1e9)


def test_engines_are_measured_by_torch(tiny_bundle: Bundle) -> None:
    """Of one round, a gain is the ratio of the rates that stand beside it."""
    found = measure(tiny_bundle, (1, 3), rounds=1)
    rates, gains = found["images_per_cpu_s"], found["over_torch"]
    assert {name.split(",")[0] for name in rates} == {"torch", "ONNX Runtime", "OpenVINO"}
    for name, each in rates.items():
        assert each.keys() == {"1", "3"}
        for size, rate in each.items():
            assert gains[name][size] == pytest.approx(rate / rates[TORCH][size], rel=0.02)


def test_the_papers_kind_of_tower_makes_a_bundle_that_flags_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    view = ViewSpec(name="global", kind="global", size=64)
    bundle = write_vit_bundle(tmp_path / "made", vit_ensemble(empty_tower("tiny"), view))
    views, logits = bundle.golden()
    judge = Judge(bundle.manifest, load_policy(None, bundle.manifest))
    assert judge.recheck is None
    assert {judge.judge(row[None], "t").verdict for row in logits} == {"authentic"}
    assert not judge.doubtful(np.full((1, 3), 30.0), "t")  # far beyond the logits of random heads
    assert np.ptp(logits, axis=1).min() > 0  # detectors that differ
    tensors = {name: torch.from_numpy(array) for name, array in views.items()}
    alone = separate_detectors(bundle.manifest)
    assert [one(tensors).shape for one in alone] == [(len(logits), 1)] * 3


def test_a_detector_from_a_bundle_of_its_own_keeps_its_tower() -> None:
    manifest = load_bundle(BUNDLED).manifest
    towers = [one.tower.name for one in separate_detectors(manifest)]
    assert towers == ["lite0"] * 4 + ["statistics"]


def test_nine_of_the_twelve_blocks_of_a_random_vit_are_computed_once(tmp_path: Path) -> None:
    tower = VitTower(name="clip-b32", width=32, depth=DEPTH, heads=2, patch=32, size=64, joint=16)
    view = ViewSpec(name="global", kind="global", size=64)
    bundle = load_bundle(write_vit_bundle(tmp_path / "made", vit_ensemble(tower, view)).path)
    norms = [node for node in onnx.load(bundle.onnx).graph.node if node.op_type == "LayerNormalization"]
    blocks = 9 + 3 * 3
    assert len(norms) == 1 + 2 * blocks + 3  # before the first, two a block, behind the last of each detector
    assert [each.name for each in bundle.manifest.detectors] == ["pin_clip", "dgs_net", "masm"]
    assert "bf16" in bundle.manifest.golden_tolerance  # else no CPU would run it in that


def test_each_ensemble_of_the_command_has_a_tower() -> None:
    assert {each.tower for each in RandomVit} <= PRESETS.keys()


def test_contestants_judge_with_the_bundle_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever our own environment says: their processes start from it."""
    own = {"PIXASSAY_BUNDLE": str(tmp_path / "own"), "PIXASSAY_POLICY": str(tmp_path / "own.json")}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    for name, value in judging_variables(load_settings(bundle=tmp_path / "made", policy=None)).items():
        monkeypatch.setenv(name, value)
    judging = load_settings()
    assert (judging.bundle, judging.policy) == (tmp_path / "made", None)


def test_a_program_with_torch_that_breaks_off_is_named_with_its_last_words() -> None:
    with pytest.raises(
        PixassayError, match=r"trt_build.bench.vit_bundle broke off: .*invalid choice: 'clip'"
    ):
        output_of(PROGRAM, ["folder", "--tower", "clip"])


def test_ratios_are_taken_within_rounds() -> None:
    """A machine that was half as fast in one round does not change the ratio."""
    lane, limit = [Lap(10, 1, 1), Lap(10, 2, 1)], [Lap(9, 1, 1), Lap(9, 2, 1)]
    figures = Figures({"lane": lane, "limit": limit}, 0.0, {}, {})
    assert figures.ratio("lane", "limit") == pytest.approx(10 / 9)


def test_cpu_time_of_a_family_counts_children() -> None:
    # A little more than what is waited for: /proc counts in hundredths of a second, each rounded down.
    spin = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.4: pass\ninput()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while cpu_seconds(family(process.pid)) < 0.3 and time.monotonic() < deadline:
            time.sleep(0.02)
        members = family(process.pid)
        spent = cpu_seconds(members)
        process.communicate(b"\n")
    assert len(members) == 2
    assert spent >= 0.3


def test_a_contestant_that_breaks_off_is_named_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(PixassayError, match=r"limit broke off: .*No such file"),
        Contestant("limit", "stream.bench.limit", {"folder": "/nowhere"}, tmp_path, os.environ),
    ):
        pass


REPORT = {
    "machine": "2 cores of a test",
    "date": "2026-11-24T12:00:00+00:00",
    "bundle": "tiny",
    "cpu_engine": "2 threads",
    "rounds": 2,
    "seconds": 7,
    "images_per_s": {"lane": 31.5, "limit": 33.0},  # without torch there is no naive loop
    "cpu_ms_per_image": {"lane": 60.1, "limit": 55.2},
    "servers_cpu_ms_per_image": 2.5,
    "lane_over_limit": 0.955,
    "lane_over_limit_by_cpu": 0.88,
    "lane_over_naive": "needs torch",
    "network_gflop_per_image": 3.1,
    "matrix_gflops_per_core": 60.0,
    "latency_ms_at_half_load": {"p50": 101, "p95": 202, "p99": 303},
    "worker_memory_mb": {"before": 400, "with_backlog": 450},
    "engines": {
        "images_per_cpu_s": {"torch": {"1": 4.0}, "OpenVINO": {"1": 20.0}},
        "over_torch": {"torch": {"1": 1.0}, "OpenVINO": {"1": 5.0}},
    },
    "shared_prefix_share": "needs torch",
    "decode_images_per_core": 99.5,
    "decode_images_per_core_by_kind": {"JPEG 640x480": 120.0},
}


def test_the_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"# Benchmarks\n\n{BEGIN}\nold\n{END}\n\nBy hand.\n")
    write_page(page, REPORT)
    first = page.read_text()
    assert "old" not in first
    assert first.startswith("# Benchmarks\n")
    assert first.endswith("\n\nBy hand.\n")
    assert "| the whole lane, images/s | 31.5 (60.1 CPU ms an image) |" in first
    assert "images per CPU second by batch | 1: 20.0 (5.0 times torch) |" in first
    assert "p50 101 ms, p95 202 ms, p99 303 ms" in first
    assert (tmp_path / "benchmarks.svg").read_text().startswith("<?xml")
    write_page(page, REPORT)
    assert page.read_text() == first


def test_the_table_of_a_random_vit_stands_between_markers_of_its_own(tmp_path: Path) -> None:
    page, (begin, end) = tmp_path / "benchmarks.md", random_markers(RandomVit.VIT_B16)
    page.write_text(f"{BEGIN}\nof the bundle\n{END}\n\n{begin}\nold\n{end}\n\nBy hand.\n")
    left_out = {"engines", "shared_prefix_share", "decode_images_per_core_by_kind"}
    report = {name: value for name, value in REPORT.items() if name not in left_out}
    write_random(page, RandomVit.VIT_B16, {**report, "worker_memory_mb": {}, "precision": "bf16"})
    text = page.read_text()
    assert text.startswith(f"{BEGIN}\nof the bundle\n{END}\n\n{begin}\n\n2 cores of a test")
    assert "best, in bf16.\n" in text
    assert "| lane over limit, by the clock | **0.955** |" in text
    assert text.endswith(f"|\n\n{end}\n\nBy hand.\n")
    assert "old" not in text
    with pytest.raises(PixassayError, match=r"lacks the lines .*vit-b32"):
        write_random(page, RandomVit.VIT_B32, report)
    assert page.read_text() == text


def test_the_docs_have_the_markers() -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for mark in (BEGIN, END, *random_markers(RandomVit.VIT_B16)):
        assert text.count(mark) == 1


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "other.md"
    page.write_text("# Other\n")
    with pytest.raises(PixassayError, match="lacks the lines"):
        write_page(page, REPORT)
    assert page.read_text() == "# Other\n"
