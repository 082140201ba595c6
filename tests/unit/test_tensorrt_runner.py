"""The TensorRT runner on a GPU of numpy arrays: buckets, padding, slots, order of calls, every fault."""

import hashlib
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.engine_file import Profile, Sidecar
from stream.engines import Engine
from stream.engines.tensorrt import TensorRtEngine
from stream.engines.tensorrt_seam import DeviceFault
from stream.errors import Outage
from tests.unit.fake_gpu import FakeDevice, FakePlan
from trt_build.verify import run_onnx

BATCHES = (1, 2, 4)


def sidecar(bundle: Bundle, batches: tuple[int, ...] = BATCHES, slots: int = 2) -> Sidecar:
    return Sidecar(
        bundle=bundle.id,
        onnx_sha256=bundle.manifest.files["ensemble.onnx"],
        engine_sha256=hashlib.sha256(b"plan").hexdigest(),
        precision="f32",
        tensorrt="11.4",
        gpu="Fake",
        sm=89,
        driver=13000,
        profiles=tuple(Profile(slot=slot, batch=batch) for slot in range(slots) for batch in batches),
        build_s=1.0,
        built_at="2026-11-01T00:00:00Z",
    )


class Bench:
    """A loaded engine on fakes."""

    def __init__(self, bundle: Bundle, slots: int = 2) -> None:
        self.device = FakeDevice()
        self.plan = FakePlan(self.device, bundle.onnx)
        self.engine = TensorRtEngine(self.device, self.plan, sidecar(bundle, slots=slots), bundle)
        self.loaded = len(self.device.calls)

    @property
    def calls(self) -> list[tuple[str, int | None]]:
        """The calls since loading."""
        return self.device.calls[self.loaded :]


@pytest.fixture
def bench(tiny_bundle: Bundle) -> Bench:
    return Bench(tiny_bundle)


def pictures(bundle: Bundle, count: int, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return {
        view.name: random.integers(0, 256, (count, view.size, view.size, 3), dtype=np.uint8)
        for view in bundle.manifest.views
    }


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_any_count_gives_the_logits_of_the_graph(bench: Bench, tiny_bundle: Bundle, count: int) -> None:
    views = pictures(tiny_bundle, count)
    assert np.abs(bench.engine.score(views) - run_onnx(tiny_bundle.onnx, views)).max() < 1e-5


def test_it_is_an_engine(bench: Bench) -> None:
    engine: Engine = bench.engine
    assert (engine.name, engine.precision, engine.buckets) == ("tensorrt", "f32", BATCHES)


def test_a_batch_goes_h2d_graph_d2h_event_and_waits_for_that_event_only(
    bench: Bench, tiny_bundle: Bundle
) -> None:
    bench.engine.score(pictures(tiny_bundle, 3))
    names = [name for name, _ in bench.calls]
    assert names == ["h2d"] * len(tiny_bundle.manifest.views) + ["launch", "d2h", "record", "wait"]
    streams = {subject for name, subject in bench.calls if name in ("h2d", "launch", "d2h")}
    assert len(streams) == 1
    assert bench.calls[-2][1] == bench.calls[-1][1]


def test_the_smallest_bucket_that_holds_the_batch_runs(bench: Bench, tiny_bundle: Bundle) -> None:
    seen: list[int] = []
    infer = bench.plan.session.run

    def spy(names: list[str], arrays: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        seen.append(len(next(iter(arrays.values()))))
        logits: list[NDArray[np.float32]] = infer(names, arrays)
        return logits

    bench.plan.session.run = spy
    for count in (1, 2, 3, 4, 5):
        bench.engine.score(pictures(tiny_bundle, count))
    assert seen == [1, 2, 4, 4, 4, 1]


def test_rows_left_by_an_earlier_batch_do_not_change_a_logit(tiny_bundle: Bundle) -> None:
    used, fresh = Bench(tiny_bundle, slots=1), Bench(tiny_bundle, slots=1)
    used.engine.score(pictures(tiny_bundle, 4, seed=1))
    views = pictures(tiny_bundle, 3, seed=2)
    assert np.array_equal(used.engine.score(views), fresh.engine.score(views))


def test_nothing_is_allocated_and_no_graph_is_made_after_loading(bench: Bench, tiny_bundle: Bundle) -> None:
    before = set(bench.device.memory)
    for count in (1, 4, 7):
        bench.engine.score(pictures(tiny_bundle, count))
    assert {name for name, _ in bench.calls} == {"h2d", "launch", "d2h", "record", "wait"}
    assert set(bench.device.memory) == before


def test_each_slot_has_a_context_and_a_graph_for_each_bucket_and_no_profile_is_used_twice(
    bench: Bench,
) -> None:
    assert bench.plan.made == list(enumerate(BATCHES * 2))
    assert len(bench.device.graphs) == len(BATCHES) * 2
    assert all(len(graph) == 1 for graph in bench.device.graphs.values())


def test_a_graph_is_captured_only_after_the_context_has_run_once(bench: Bench) -> None:
    loading = [name for name, _ in bench.device.calls if name in ("enqueue", "sync", "capture")]
    assert loading == ["enqueue", "sync", "capture", "enqueue"] * (len(BATCHES) * 2)


def test_two_batches_are_under_way_and_no_buffer_is_used_before_its_event(
    bench: Bench, tiny_bundle: Bundle
) -> None:
    views = pictures(tiny_bundle, 19)
    logits = bench.engine.score(views)
    assert np.abs(logits - run_onnx(tiny_bundle.onnx, views)).max() < 1e-5
    recorded, most = set[int | None](), 0
    for name, subject in bench.calls:
        if name == "record":
            assert subject not in recorded, "the slot was used again before its event"
            recorded.add(subject)
            most = max(most, len(recorded))
        elif name == "wait":
            recorded.remove(subject)
    assert most == 2
    assert not recorded


def test_two_callers_at_once_each_get_their_own_logits(bench: Bench, tiny_bundle: Bundle) -> None:
    both = threading.Barrier(2, timeout=60)  # breaks unless both are inside the engine at the same time

    def meet() -> None:
        both.wait()

    bench.device.on_wait = meet
    views = [pictures(tiny_bundle, 3, seed) for seed in (1, 2)]
    answers: dict[int, NDArray[np.float32]] = {}
    threads = [
        threading.Thread(target=lambda i=i: answers.update({i: bench.engine.score(views[i])})) for i in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for index, given in enumerate(views):
        assert np.abs(answers[index] - run_onnx(tiny_bundle.onnx, given)).max() < 1e-5


@pytest.mark.parametrize("call", ["stream", "event", "pinned", "alloc", "sync", "capture", "enqueue"])
@pytest.mark.parametrize("time", [1, 4])
def test_a_device_that_fails_while_loading_is_freed(tiny_bundle: Bundle, call: str, time: int) -> None:
    device = FakeDevice()
    device.fail = (call, min(time, 2) if call in ("stream", "event") else time)
    with pytest.raises(DeviceFault, match=f"{call} was made to fail"):
        TensorRtEngine(device, FakePlan(device, tiny_bundle.onnx), sidecar(tiny_bundle), tiny_bundle)
    assert device.closed


@pytest.mark.parametrize("step", ["context", "prepare", "enqueue"])
def test_a_context_that_fails_while_loading_frees_the_device(tiny_bundle: Bundle, step: str) -> None:
    device = FakeDevice()
    plan = FakePlan(device, tiny_bundle.onnx)
    plan.fail = step
    with pytest.raises(DeviceFault, match=f"{step} was made to fail"):
        TensorRtEngine(device, plan, sidecar(tiny_bundle), tiny_bundle)
    assert device.closed


@pytest.mark.parametrize("call", ["h2d", "launch", "d2h", "record", "wait"])
@pytest.mark.parametrize("batches_before", [0, 1, 2, 3])
def test_a_fault_while_running_is_an_outage_now_and_from_then_on(
    bench: Bench, tiny_bundle: Bundle, call: str, batches_before: int
) -> None:
    each = len(tiny_bundle.manifest.views) if call == "h2d" else 1
    bench.device.fail = (call, bench.device.count(call) + batches_before * each + 1)
    with pytest.raises(Outage, match=f"{call} was made to fail; the worker must be started anew"):
        bench.engine.score(pictures(tiny_bundle, 16))
    bench.device.fail = None
    calls = len(bench.device.calls)
    for _ in range(3):  # more often than there are slots: none was lost
        with pytest.raises(Outage, match=f"{call} was made to fail"):
            bench.engine.score(pictures(tiny_bundle, 1))
    assert len(bench.device.calls) == calls, "the broken device was used again"


def test_a_caller_that_waits_for_a_slot_is_told_of_the_fault(tiny_bundle: Bundle) -> None:
    bench = Bench(tiny_bundle, slots=1)
    inside, go, told = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        inside.set()
        go.wait(60)

    def score() -> None:
        try:
            bench.engine.score(pictures(tiny_bundle, 1))
        except Outage as error:
            told.append(str(error))

    bench.device.on_wait = hold
    bench.device.fail = ("wait", 1)
    threads = [threading.Thread(target=score) for _ in range(2)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(told) == 2
    assert all("wait was made to fail" in text for text in told)


def test_views_that_are_not_the_bundles_are_refused(bench: Bench, tiny_bundle: Bundle) -> None:
    views = pictures(tiny_bundle, 2)
    name = next(iter(views))
    for wrong in (
        {},
        {name: views[name]},
        {**views, "more": views[name]},
        {**views, name: views[name][:1]},
        {**views, name: views[name][:, :-1]},
        {key: array[:0] for key, array in views.items()},
    ):
        with pytest.raises(ValueError, match="the views are"):
            bench.engine.score(wrong)
    assert bench.engine.score(views).shape == (2, 3)


def test_an_engine_of_other_tensors_is_refused(tiny_bundle: Bundle) -> None:
    device = FakeDevice()
    plan = FakePlan(device, tiny_bundle.onnx)
    plan.tensors = plan.tensors[1:]
    with pytest.raises(DeviceFault, match="the engine's tensors are"):
        TensorRtEngine(device, plan, sidecar(tiny_bundle), tiny_bundle)


def test_close_frees_the_device(bench: Bench) -> None:
    bench.engine.close()
    assert bench.device.closed
