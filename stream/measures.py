"""The distributions that a worker measures, in the field's histograms: latencies, batch sizes, scores.

Counts and states are kept in stream/telemetry.py; stream/metrics.py joins both for Prometheus.
"""

import time
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

from stream.engines import Engine

STEPS: Final = ("fetch", "decode", "detect", "store", "flag")
# Seconds: from a thumbnail that is decoded to a picture that waited out an outage.
_STEP_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_UPLOAD_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SCORE_BUCKETS = tuple(step / 20 for step in range(1, 21))


class Measures:
    """The histograms of one worker, in a registry of its own: two workers in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        steps = Histogram(
            "pixassay_step_seconds",
            "One call of a step: the wait for its thread, its process or its batch, and failures, included.",
            ["step"],
            buckets=_STEP_BUCKETS,
            registry=self.registry,
        )
        self.steps = {step: steps.labels(step) for step in STEPS}
        self.upload = self._plain(
            "pixassay_upload_seconds", "From taking up the record to the decision.", _UPLOAD_BUCKETS
        )
        self.engine_seconds = self._plain(
            "pixassay_engine_seconds", "One batch in the engine.", _STEP_BUCKETS
        )
        self.batch = self._plain(
            "pixassay_batch_frames", "Frames that the engine was given at a time.", _BATCH_BUCKETS
        )
        self.insert = self._plain(
            "pixassay_insert_rows", "Verdicts that were given to Postgres at a time.", _BATCH_BUCKETS
        )
        self.score = self._plain("pixassay_score", "Fused scores of stored verdicts.", _SCORE_BUCKETS)

    def _plain(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)


class MeasuredEngine:
    """An engine whose batches are counted and timed; in all else the engine itself."""

    def __init__(self, engine: Engine, measures: Measures) -> None:
        self._engine, self._measures = engine, measures
        self.name, self.precision = engine.name, engine.precision
        self.buckets, self.callers = engine.buckets, engine.callers

    def score(self, views: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float32]:
        """As Engine.score. A batch that fails is not counted."""
        began = time.perf_counter()
        logits = self._engine.score(views)
        self._measures.engine_seconds.observe(time.perf_counter() - began)
        self._measures.batch.observe(len(logits))
        return logits

    def close(self) -> None:
        """As Engine.close."""
        self._engine.close()
