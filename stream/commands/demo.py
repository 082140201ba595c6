"""`pixassay demo`: the whole way of an upload on embedded parts, with real pictures."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from stream.demo import Options, run
from stream.settings import load_settings


def demo(
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Your own pictures, with those of all folders below; folders named real and ai label them.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(file_okay=False, help="Where the report goes.")] = Path(
        "demo-output"
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="Most pictures to upload.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Hold the servers up at the end, until Ctrl-C.")
    ] = False,
    store: Annotated[
        Literal["s3", "directory"], typer.Option(help="Where the pictures lie: an S3 server, or a folder.")
    ] = "s3",
) -> None:
    """Stream pictures through Kafka, the detectors and Postgres; write a report. Exit status 1 on a gap.

    Kafka, Postgres and an S3 server are started for the run; PIXASSAY_KAFKA_BOOTSTRAP,
    PIXASSAY_DATABASE_URL and PIXASSAY_S3_ENDPOINT name others to use instead.
    """
    if not run(load_settings(), Options(images, output, limit, keep, store), Console()):
        raise typer.Exit(1)
