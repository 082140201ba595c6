"""The parts of `pixassay bench` that could make its figures wrong without a word."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream.bench.contest import Contestant, Lap
from stream.bench.lane import Figures
from stream.bench.processor import cpu_seconds, family
from stream.errors import PixassayError
from trt_build.bench.prefix import arithmetic_gain


def test_the_arithmetic_gain_of_a_shared_prefix() -> None:
    assert arithmetic_gain(12, 0) == 1
    assert arithmetic_gain(12, 6) == 1.5
    assert arithmetic_gain(12, 9) == 2


def test_ratios_are_taken_within_rounds() -> None:
    """A machine that was half as fast in one round does not change the ratio."""
    lane, limit = [Lap(10, 1, 1), Lap(10, 2, 1)], [Lap(9, 1, 1), Lap(9, 2, 1)]
    assert Figures({"lane": lane, "limit": limit}, 0.0).ratio("lane", "limit") == pytest.approx(10 / 9)


def test_cpu_time_of_a_family_counts_children() -> None:
    spin = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.3: pass\ninput()"
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
        Contestant("limit", "stream.bench.limit", {"folder": "/nowhere", "threads": 1}, tmp_path, os.environ),
    ):
        pass
