"""The decoding processes: what they return, and what each fault costs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.decode import decode
from stream.decode_pool import DecodePool, limits_of
from stream.errors import CannotEvaluate, NotApplicable, Outage
from stream.reasons import Reason
from stream.settings import Settings
from stream.types import Views
from tests.unit.picture_files import LIMITS, VIEWS, every_format

FILES = every_format()
FAULTS = "tests.unit.decoder_faults"


@pytest.fixture(scope="module")
def faulty() -> Iterator[DecodePool]:
    pool = DecodePool(VIEWS, replace(LIMITS, timeout_s=2.0), 2, program=FAULTS)
    yield pool
    pool.close()


def reason_of(future: "Future[Views]") -> Reason:
    error = future.exception(timeout=60)
    assert isinstance(error, CannotEvaluate)
    return error.reason


def test_the_pool_returns_what_decode_returns() -> None:
    pool = DecodePool(VIEWS, LIMITS, 2)
    wishes = [(kind, resave) for kind in FILES for resave in (None, 90)]
    futures = {(kind, resave): pool.submit(FILES[kind], resave) for kind, resave in wishes}
    for (kind, resave), future in futures.items():
        got, wanted = future.result(timeout=60), decode(FILES[kind], VIEWS, LIMITS, resave)
        assert got.facts == wanted.facts
        assert list(got.arrays) == list(wanted.arrays)
        for name, array in got.arrays.items():
            np.testing.assert_array_equal(array, wanted.arrays[name])
    pool.close()


def test_refusals_keep_their_reason_and_kind(faulty: DecodePool) -> None:
    assert reason_of(faulty.submit(b"<svg/>")) == Reason.UNSUPPORTED_FORMAT
    assert reason_of(faulty.submit(FILES["PNG"][:100])) == Reason.TRUNCATED
    small = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    error = faulty.submit(small).exception(timeout=60)
    assert isinstance(error, NotApplicable)
    assert error.reason == Reason.TOO_SMALL


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (b"hang", Reason.DECODE_TIMEOUT),
        (b"spin", Reason.DECODE_TIMEOUT),
        (b"segfault", Reason.DECODER_CRASHED),
        (b"kill", Reason.DECODER_CRASHED),
        (b"exit", Reason.DECODER_CRASHED),
        (b"defect", Reason.DECODER_CRASHED),
        (b"memory", Reason.DECODER_CRASHED),
        (b"lie " + FILES["PNG"], Reason.DECODER_CRASHED),
        (b"shout " + FILES["PNG"], Reason.DECODER_CRASHED),
    ],
    ids=lambda value: value.split(b" ")[0].decode() if isinstance(value, bytes) else "",
)
def test_a_fault_costs_its_own_file_only(faulty: DecodePool, fault: bytes, reason: Reason) -> None:
    around = [faulty.submit(FILES["JPEG"]) for _ in range(3)]
    hit = faulty.submit(fault)
    after = [faulty.submit(FILES["JPEG"]) for _ in range(3)]
    assert reason_of(hit) == reason
    assert all(future.result(timeout=60).facts.format == "JPEG" for future in around + after)


def test_many_faults_in_a_row(faulty: DecodePool) -> None:
    mixed = [
        faulty.submit(data) for _ in range(2) for data in (b"segfault", FILES["GIF"], b"exit", FILES["PNG"])
    ]
    assert [type(future.exception(timeout=120)) for future in mixed] == [CannotEvaluate, type(None)] * 4


def test_the_signal_is_named(faulty: DecodePool) -> None:
    assert "SIGSEGV" in str(faulty.submit(b"segfault").exception(timeout=60))


def test_an_idle_process_that_dies_costs_nothing() -> None:
    pool = DecodePool(VIEWS, LIMITS, 1)
    pool.submit(FILES["PNG"]).result(timeout=60)
    (process,) = pool.processes
    os.kill(process, signal.SIGKILL)
    while Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z":
        time.sleep(0.01)
    assert pool.submit(FILES["PNG"]).result(timeout=60).facts.format == "PNG"
    pool.close()


def test_a_process_that_cannot_start_is_an_outage_not_a_verdict() -> None:
    pool = DecodePool(VIEWS, LIMITS, 1, program="tests.unit.no_such_module")
    assert isinstance(pool.submit(FILES["PNG"]).exception(timeout=60), Outage)
    pool.close()


def test_close_ends_what_runs_and_what_waits_and_leaves_no_process() -> None:
    pool = DecodePool(VIEWS, LIMITS, 1, program=FAULTS)
    pool.submit(FILES["PNG"]).result(timeout=60)
    (process,) = pool.processes
    running, waiting = pool.submit(b"hang"), pool.submit(FILES["PNG"])
    while not running.running():
        time.sleep(0.01)
    closer = threading.Thread(target=pool.close)
    closer.start()
    closer.join(timeout=30)
    assert not closer.is_alive()
    assert isinstance(running.exception(), Outage)
    with pytest.raises(CancelledError):
        waiting.result()
    assert not Path(f"/proc/{process}").exists()


CTRL_C = """
import os, signal, sys, threading
from stream.decode_pool import DecodePool
from tests.unit.picture_files import LIMITS, VIEWS, every_format

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
pool = DecodePool(VIEWS, LIMITS, 2)
pool.submit(every_format()["PNG"]).result()
try:
    print(*pool.processes, flush=True)  # within "try": whoever reads it may send the signal at once
    threading.Event().wait(60)
except KeyboardInterrupt:
    print(pool.submit(every_format()["PNG"]).result().facts.format, flush=True)
    pool.close()
"""


def test_ctrl_c_reaches_the_parent_alone() -> None:
    """As on a terminal: the signal goes to the whole process group of the parent."""
    parent = subprocess.Popen(
        [sys.executable, "-c", CTRL_C],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert parent.stdout is not None
    children = parent.stdout.readline().split()
    os.killpg(parent.pid, signal.SIGINT)
    try:
        shown, complaints = parent.communicate(timeout=60)
    finally:
        parent.kill()
    assert (shown, complaints, parent.returncode) == ("PNG\n", "", 0)
    assert len(children) == 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_processes_end_when_their_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", CTRL_C], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = parent.stdout.readline().split()
    assert len(children) == 2
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_limits_come_from_the_settings() -> None:
    limits = limits_of(Settings(max_pixels=7, decode_memory_mb=300, _env_file=None))  # type: ignore[call-arg]
    assert (limits.max_pixels, limits.memory_mb) == (7, 300)
