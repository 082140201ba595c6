"""`pixassay doctor`: what is set, what answers, and what to do about what does not."""

import asyncio
import platform
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import typer
from rich.console import Console
from rich.table import Table

from models.bundle import BundleError, load_bundle
from stream.drift import REFERENCE, reference_of
from stream.errors import PixassayError
from stream.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: its name, whether it is well, and what was seen or what to do."""

    name: str
    ok: bool
    detail: str


def doctor(as_json: bool = typer.Option(False, "--json", help="One JSON object a line.")) -> None:
    """Check settings, bundle, engine and connections. Exit status 1 where something is wrong."""
    settings = load_settings()
    findings = list(examine(settings))
    if as_json:
        for finding in findings:
            sys.stdout.write(orjson.dumps(finding).decode() + "\n")
    else:
        _show(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at every part, from the inside out; a part that fails does not hide the next."""
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform()}")
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("bundle and engine", _engine),
        ("database", _database),
        ("kafka", _kafka),
        ("object store", _object_store),
    ]
    for name, check in checks:
        try:
            yield Finding(name, True, check(settings))
        except (PixassayError, BundleError) as error:
            yield Finding(name, False, str(error))


def _engine(settings: Settings) -> str:
    from stream.engines.choose import load_engine

    bundle = load_bundle(settings.bundle)
    engine = load_engine(bundle, settings)
    try:
        on = f"{engine.name} {engine.precision}"
        judges = f"{bundle.manifest.name} ({bundle.id}) on {on}, golden logits reproduced"
        drift = f"no {REFERENCE} in its metrics: drift of scores is not measured"
        return judges if reference_of(bundle.manifest) else f"{judges}; {drift}"
    finally:
        engine.close()


def _database(settings: Settings) -> str:
    from stream.database import check_schema

    return check_schema(settings.database_url.get_secret_value())


def _kafka(settings: Settings) -> str:
    from stream.kafka import describe

    return asyncio.run(describe(settings))


def _object_store(settings: Settings) -> str:
    if settings.s3_endpoint is None:
        roots = ", ".join(str(root) for root in settings.file_roots) or "none"
        return f"AWS S3 by default credentials (not contacted); file:// roots: {roots}"
    target = urlsplit(settings.s3_endpoint)
    address = (target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
    try:
        with socket.create_connection(address, timeout=settings.s3_timeout_s) as connection:
            if target.scheme == "https":
                context = ssl.create_default_context(cafile=settings.s3_ca_file)
                context.wrap_socket(connection, server_hostname=target.hostname).close()
    except OSError as error:
        raise PixassayError(
            f"{settings.s3_endpoint} does not answer ({error}); check PIXASSAY_S3_ENDPOINT and _S3_CA_FILE"
        ) from error
    return f"{settings.s3_endpoint} answers"


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "[green]ok[/green]" if finding.ok else "[red]wrong[/red]"
        table.add_row(mark, finding.name, finding.detail)
    Console().print(table)
