"""Traces by OpenTelemetry, sent as OTLP over HTTP. Needs the extra `otel`."""

from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from stream.events import Upload
from stream.types import Origin

TIMEOUT_S = 5.0  # of one export; what a collector that is away misses is dropped, and uploads do not wait


class Traces:
    """Spans in batches to one exporter. Names of attributes: OpenTelemetry's for Kafka, else our own."""

    def __init__(self, exporter: SpanExporter, share: float) -> None:
        """`share` of the uploads are traced, chosen by chance."""
        resource = Resource.create({"service.name": "pixassay"})
        self._provider = TracerProvider(sampler=TraceIdRatioBased(share), resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pixassay")

    def upload(self, origin: Origin, upload: Upload | None) -> AbstractContextManager[object]:
        """As Tracing.upload."""
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": origin.topic,
            "messaging.destination.partition.id": str(origin.partition),
            "messaging.kafka.offset": origin.offset,
        }
        if upload is not None:
            attributes |= {"pixassay.tenant": upload.tenant, "pixassay.upload_id": upload.upload_id}
        return self._tracer.start_as_current_span(
            "upload", kind=trace.SpanKind.CONSUMER, attributes=attributes
        )

    def step(self, name: str) -> AbstractContextManager[object]:
        """As Tracing.step. What the step raises is on its span."""
        return self._tracer.start_as_current_span(name)

    def note(self, key: str, value: str) -> None:
        """As Tracing.note."""
        trace.get_current_span().set_attribute(f"pixassay.{key}", value)

    def close(self) -> None:
        """As Tracing.close."""
        self._provider.shutdown()


def otlp_traces(endpoint: str, share: float) -> Traces:
    """To a collector's URL, such as http://127.0.0.1:4318/v1/traces."""
    return Traces(OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S), share)
