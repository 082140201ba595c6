"""Traces of uploads, as an exporter gets them."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream.errors import BadRecord, ConfigError
from stream.events import Upload
from stream.otel import Traces
from stream.pipeline import Part, Pipeline
from stream.reasons import Reason
from stream.settings import load_settings
from stream.telemetry import Telemetry
from stream.tracing import Untraced, tracing_of
from stream.types import Origin
from tests.fakes import FakeParts, until, upload


async def traced(*contents: Upload | BadRecord) -> Sequence[ReadableSpan]:
    """The spans of these uploads, in the order in which they ended."""
    exporter, telemetry, fakes = InMemorySpanExporter(), Telemetry(), FakeParts()
    telemetry.tracing = Traces(exporter, share=1.0)
    pipeline = Pipeline(fakes.parts(), fakes, load_settings(), telemetry)
    for offset, content in enumerate(contents):
        origin = Origin("uploads", 2, offset)
        pipeline.submit(Part(content, origin, b"raw", 0, datetime.now(UTC)), lambda: None)
    await until(lambda: telemetry.in_flight == 0)
    await pipeline.close()
    telemetry.tracing.close()
    return exporter.get_finished_spans()


async def test_an_upload_has_a_span_and_its_steps_are_below_it() -> None:
    spans = await traced(upload("synthetic1"), upload("clean1"))
    roots = {span.attributes["pixassay.upload_id"]: span for span in spans if span.parent is None}  # type: ignore[index]
    assert set(roots) == {"synthetic1", "clean1"}
    root = roots["synthetic1"]
    below = [span.name for span in spans if span.parent and span.parent.span_id == root.context.span_id]
    assert below == ["fetch", "decode", "detect", "store", "flag"]
    assert dict(root.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.destination.name": "uploads",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": 0,
        "pixassay.tenant": "t",
        "pixassay.upload_id": "synthetic1",
        "pixassay.verdict": "synthetic",
    }
    assert len({span.context.trace_id for span in spans}) == 2


async def test_what_a_step_raises_is_on_its_span() -> None:
    spans = await traced(upload("bad1"))
    [decode] = [span for span in spans if span.name == "decode"]
    assert not decode.status.is_ok
    assert decode.events[0].attributes["exception.message"] == "corrupt: bad1"  # type: ignore[index]
    [root] = [span for span in spans if span.parent is None]
    assert (root.attributes or {})["pixassay.verdict"] == "unable_to_evaluate"


async def test_a_dead_letter_says_why() -> None:
    [root] = await traced(BadRecord(Reason.BAD_JSON, "no JSON"))
    assert (root.attributes or {})["pixassay.dead_letter"] == "bad_json"


async def test_a_collector_gets_them_over_http() -> None:
    got: list[str] = []

    async def collect(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        got.extend(s.name for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app) as server:
        traces = tracing_of(load_settings(otlp_endpoint=str(server.make_url("/v1/traces"))))
        with traces.upload(Origin("uploads", 0, 1), None), traces.step("fetch"):
            pass
        await asyncio.to_thread(traces.close)
    assert got == ["fetch", "upload"]


def test_no_traces_unless_asked_for() -> None:
    assert isinstance(tracing_of(load_settings()), Untraced)


def test_traces_need_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stream.otel", None)
    with pytest.raises(ConfigError, match=r"pixassay\[otel\]"):
        tracing_of(load_settings(otlp_endpoint="http://127.0.0.1:4318/v1/traces"))
