"""What Prometheus scrapes of a worker: its telemetry as metric families, read at each scrape.

Labels have few values: reason codes, verdicts, parts, steps, our partitions. docs/operations.md says
what to look at first.
"""

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.reasons import Reason
from stream.telemetry import Telemetry
from stream.types import Verdict

PARTS = ("kafka", "database", "object store", "engine", "decoder")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """Counts and states of one worker. Every label value that is known beforehand starts at zero."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        yield from self._counters()
        yield from self._states()
        yield from self._queues()

    def _counters(self) -> Iterator[Metric]:
        seen, parts, reasons = self._telemetry, dict.fromkeys(PARTS, 0), dict.fromkeys(Reason, 0)
        verdicts = dict.fromkeys(get_args(Verdict), 0)
        yield CounterMetricFamily("pixassay_records", "Kafka records taken up, repeats too.", seen.records)
        yield CounterMetricFamily("pixassay_review_messages", "Flags that the broker has.", seen.flagged)
        yield CounterMetricFamily("pixassay_defects", "Unexpected exceptions of uploads.", seen.defects)
        yield _counter("pixassay_verdicts", "Stored verdicts.", "verdict", verdicts | seen.verdicts)
        yield _counter("pixassay_reasons", "Codes of stored verdicts.", "reason", reasons | seen.reasons)
        yield _counter("pixassay_dead_letters", "Stored dead letters.", "reason", reasons | seen.dead)
        yield _counter("pixassay_retries", "Calls that a part failed.", "part", parts | seen.retries)
        yield _counter("pixassay_outages", "Times that a part went away.", "part", parts | seen.outages)
        tenants = CounterMetricFamily(
            "pixassay_tenant_verdicts", "Stored verdicts by tenant.", labels=["tenant", "verdict"]
        )
        for pair, count in seen.by_tenant.items():
            tenants.add_metric(pair, count)
        yield tenants

    def _states(self) -> Iterator[Metric]:
        seen = self._telemetry
        yield GaugeMetricFamily("pixassay_ready", "1 while uploads can be finished.", not seen.troubles())
        away = GaugeMetricFamily("pixassay_away", "1 while a part is waited for.", labels=["part"])
        for part in (*PARTS, *(seen.away - set(PARTS))):
            away.add_metric([part], part in seen.away)
        yield away
        if seen.drift is not None and (drift := seen.drift.value) is not None:
            help_text = "Population stability index of the latest scores against the bundle's reference."
            yield GaugeMetricFamily("pixassay_score_drift", help_text, drift)
        yield InfoMetricFamily("pixassay_worker", "What judges.", seen.about)

    def _queues(self) -> Iterator[Metric]:
        seen = self._telemetry
        yield GaugeMetricFamily("pixassay_in_flight", "Uploads without an outcome yet.", seen.in_flight)
        yield GaugeMetricFamily("pixassay_aside", "Of these, waiting for a bucket that fails.", seen.aside)
        yield GaugeMetricFamily("pixassay_partitions", "Partitions of ours.", len(seen.assigned or ()))
        yield GaugeMetricFamily("pixassay_paused_partitions", "Of these, paused for now.", seen.paused)
        lag = GaugeMetricFamily(
            "pixassay_lag_records", "Records without an outcome yet.", labels=["topic", "partition"]
        )
        for (topic, partition), behind in (seen.lags or {}).items():
            lag.add_metric([topic, str(partition)], behind)
        yield lag
        taken = GaugeMetricFamily("pixassay_step_uploads", "Uploads in a step or before it.", labels=["step"])
        places = GaugeMetricFamily("pixassay_step_places", "Most uploads that may be.", labels=["step"])
        for step, (uploads, most) in seen.depths().items():
            taken.add_metric([step], uploads)
            places.add_metric([step], most)
        yield from (taken, places)


def registry_of(telemetry: Telemetry) -> CollectorRegistry:
    """The telemetry's histograms, with its counts and states beside them. Once a telemetry."""
    registry = telemetry.measures.registry
    registry.register(Exposition(telemetry))
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """In Prometheus' text format 0.0.4."""
    text: bytes = generate_latest(registry)
    return text


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([str(value)], count)
    return family
