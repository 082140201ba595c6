"""The worker's window for machines: /healthz, /readyz and /metrics over HTTP, on the worker's own loop.

That the loop answers at all is what /healthz says. Without TLS and without a password: bind it to
loopback or to a network of your own (docs/security.md).
"""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from stream.errors import ConfigError
from stream.metrics import CONTENT_TYPE, exposition, registry_of
from stream.settings import DEFAULT_MONITOR, Settings
from stream.telemetry import Telemetry

log = logging.getLogger("pixassay")

_JSON = "application/json"


class Monitor:
    """Serves one worker's telemetry from `start` to `stop`."""

    def __init__(self, address: str, telemetry: Telemetry) -> None:
        """`address` is host:port; port 0 takes a free one. Raises ConfigError where it is no address."""
        self._host, self._port = _split(address)
        self._telemetry, self._registry = telemetry, registry_of(telemetry)
        self._runner: web.AppRunner | None = None
        self.url = ""  # where it listens, once it does

    async def start(self) -> None:
        """Listen. Raises ConfigError where the address cannot be had."""
        app = web.Application()
        app.add_routes([web.get("/healthz", self._health), web.get("/readyz", self._ready)])
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            taken = "another process listens there" if error.errno == errno.EADDRINUSE else error.strerror
            place = f"{self._host}:{self._port}"
            raise ConfigError(
                f"PIXASSAY_MONITOR_ADDRESS {place}: {taken}; set another, or an empty one for none"
            ) from error
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        """Close. What is being answered has a second."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(body=b'{"ok": true}\n', content_type=_JSON)

    async def _ready(self, _: web.Request) -> web.Response:
        """200 or 503; what is wrong is in the body, for people."""
        seen = self._telemetry
        troubles = seen.troubles()
        body = {
            "ready": not troubles,
            "troubles": troubles,
            "partitions": sorted(f"{topic}/{number}" for topic, number in seen.assigned or ()),
            "lag": seen.lag,
            "in_flight": seen.in_flight,
            "judges": seen.about,
        }
        text = orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
        return web.Response(body=text, status=503 if troubles else 200, content_type=_JSON)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=exposition(self._registry), headers={"Content-Type": CONTENT_TYPE})


@asynccontextmanager
async def monitored(settings: Settings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The monitor that the settings ask for, while the body runs. Raises ConfigError.

    Where nobody asked for the address, it being the default, a worker whose neighbour has it does without.
    """
    if not settings.monitor_address:
        yield
        return
    monitor = Monitor(settings.monitor_address, telemetry)
    try:
        await monitor.start()
        log.info("answering /healthz, /readyz and /metrics at %s", monitor.url)
    except ConfigError as error:
        if settings.monitor_address != DEFAULT_MONITOR:
            raise
        log.warning("no metrics and no probes: %s", error)
    try:
        yield
    finally:
        await monitor.stop()


def _split(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.path:
        raise ConfigError(f"PIXASSAY_MONITOR_ADDRESS {address!r}: host:port was expected")
    return host, port
