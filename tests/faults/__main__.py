"""python -m tests.faults: a campaign of faults. Exit status 1 where an upload was lost or doubled."""

import asyncio
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import orjson
import typer

from stream.embedded.stack import sigterm_unwinds
from tests.faults.campaign import run
from tests.faults.result import Result, as_json, as_markdown


def main(
    kills: Annotated[int, typer.Option(min=0, help="Workers to kill with SIGKILL.")] = 4,
    outages: Annotated[int, typer.Option(min=0, help="Outages of a service, or of a worker.")] = 3,
    seed: Annotated[int, typer.Option(help="Draws what happens and when.")] = 1,
    broker: Annotated[Literal["tansu", "kafka"], typer.Option(help="Which broker.")] = "tansu",
    bundle: Annotated[
        Path | None, typer.Option(exists=True, help="Bundle; one of random weights is made if left out.")
    ] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a section in Markdown here.")] = None,
    logs: Annotated[Path | None, typer.Option(help="Folder for the workers' logs, kept.")] = None,
) -> None:
    """Stream uploads while things go wrong, mend everything, and count what was lost."""
    logging.basicConfig(level=logging.INFO if not as_json_ else logging.ERROR, format="%(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with sigterm_unwinds(), TemporaryDirectory() as scratch:
        folder = logs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = bundle or _tiny(Path(scratch) / "bundle")
        result = asyncio.run(run(kills, outages, seed, broker, chosen, folder))
    if report is not None:
        command = (
            f"python -m tests.faults --kills {kills} --outages {outages} --seed {seed} --broker {broker}"
        )
        report.write_text(as_markdown(result, command), encoding="utf-8")
    sys.stdout.write(orjson.dumps(as_json(result)).decode() + "\n" if as_json_ else _told(result))
    raise typer.Exit(0 if result.ok else 1)


def _tiny(path: Path) -> Path:
    from trt_build.tiny import write_tiny_bundle  # torch: only where no bundle is given

    return write_tiny_bundle(path).path


def _told(result: Result) -> str:
    counts = ("uploads", "lost", "doubled", "unflagged", "uncommitted", "kills", "outages", "changes")
    lines = [f"{name}: {getattr(result, name)}" for name in counts]
    return "\n".join([*lines, f"seconds: {result.seconds:.0f}", *result.died, ""])


if __name__ == "__main__":
    typer.run(main)
