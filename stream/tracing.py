"""Traces: a span an upload and one below it for each step. Off, and nearly free, unless settings ask for it.

What OpenTelemetry needs is imported in stream/otel.py, and only then.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from stream.errors import ConfigError
from stream.events import Upload
from stream.settings import Settings
from stream.types import Origin

_NOTHING: Final = nullcontext()


class Tracing(Protocol):
    """Where spans go. A span is the child of the one that is open in the same task."""

    def upload(self, origin: Origin, upload: Upload | None) -> AbstractContextManager[object]:
        """Around all that happens to one upload."""
        ...

    def step(self, name: str) -> AbstractContextManager[object]:
        """Around one call of a step."""
        ...

    def note(self, key: str, value: str) -> None:
        """An attribute of the span that is open."""
        ...

    def close(self) -> None:
        """Send what is left. Blocks, for some seconds at most."""
        ...


class Untraced:
    """No traces."""

    def upload(self, origin: Origin, upload: Upload | None) -> AbstractContextManager[object]:
        return _NOTHING

    def step(self, name: str) -> AbstractContextManager[object]:
        return _NOTHING

    def note(self, key: str, value: str) -> None: ...

    def close(self) -> None: ...


def tracing_of(settings: Settings) -> Tracing:
    """As the settings ask. Raises ConfigError where OpenTelemetry is asked for and not installed."""
    if settings.otlp_endpoint is None:
        return Untraced()
    try:
        from stream.otel import otlp_traces
    except ImportError as error:
        raise ConfigError("PIXASSAY_OTLP_ENDPOINT needs the extra: pip install 'pixassay[otel]'") from error
    return otlp_traces(settings.otlp_endpoint, settings.trace_share)
