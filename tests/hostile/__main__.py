"""python -m tests.hostile: hostile files through the service. Exit status 1 where one has no outcome."""

import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import orjson
import typer

from stream.database import upgrade
from stream.decode_pool import limits_of
from stream.embedded import Postgres, SeaweedFS, Tansu
from stream.embedded.stack import sigterm_unwinds
from stream.settings import Settings
from tests.harness.scene import worker_settings
from tests.harness.seen import Database
from tests.hostile.campaign import Result, run
from tests.hostile.corpus import corpus
from trt_build.tiny import write_tiny_bundle


def main(
    files: Annotated[int, typer.Option(min=20, help="Files to send.")] = 150,
    seed: Annotated[int, typer.Option(help="Draws the mutations.")] = 1,
    decoders: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Build the corpus for the limits that ship, send it through real services, and count the outcomes."""
    with ExitStack() as stack:
        stack.enter_context(sigterm_unwinds())
        folder = Path(stack.enter_context(TemporaryDirectory()))
        broker, store = stack.enter_context(Tansu()), stack.enter_context(SeaweedFS())
        postgres = stack.enter_context(Postgres())
        upgrade(postgres.url())
        given = {**broker.variables(), **postgres.variables(), **store.variables()}
        shipped = {name: Settings.model_fields[name].default for name in ("max_bytes", "s3_timeout_s")}
        bundle = write_tiny_bundle(folder / "bundle").path
        settings = worker_settings(
            folder, given, bundle=bundle, decoders=decoders, s3_buckets="hostile", **shipped
        )
        chosen = corpus(files, seed, limits_of(settings))
        result = run(chosen, settings, store.bucket("hostile"), Database(postgres, "pixassay"), folder)
    result.seed = seed
    sys.stdout.write(orjson.dumps(result.as_json()).decode() + "\n" if as_json else _told(result))
    raise typer.Exit(0 if result.ok else 1)


def _told(result: Result) -> str:
    lines = [
        f"{result.files} files, {result.outcomes} outcomes, {result.gaps} gaps, {result.seconds:.0f} s",
        *(f"  {reason}: {count}" for reason, count in result.by_reason.items()),
        f"worker restarts: {result.worker_restarts}",
        f"decoding processes lost: {result.decoders_lost}, by files: {result.crashes}",
        f"worker: peak {result.worker_peak_mb} MiB, limit {result.worker_limit_mb} MiB",
        f"decoders: peak {result.decoder_peak_mb} MiB, limit {result.decoder_limit_mb} MiB",
        *(f"unexpected: {one}" for one in result.unexpected),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    typer.run(main)
