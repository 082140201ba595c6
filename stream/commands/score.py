"""`pixassay score`: judge files and folders, without Kafka or a database."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from stream.commands.output import json_lines, table
from stream.errors import CannotEvaluate, Undeliverable
from stream.fetch_file import read_file
from stream.scoring import Scorer, score_line, scorer
from stream.settings import Settings, load_settings

_COLUMNS = ("verdict", "score", "reasons", "path")


def score(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, and folders with all below them.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a file, one a line.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose thresholds hold.")] = "default",
) -> None:
    """Judge files and folders. A file that cannot be judged is a line, too, with its reason."""
    files = list(files_below(paths))
    asyncio.run(_print(files, tenant, as_json, load_settings()))


def files_below(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and for each folder every file below it in sorted order, hidden ones left out."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


async def _print(files: Sequence[Path], tenant: str, as_json: bool, settings: Settings) -> None:
    rows: list[dict[str, Any]] = []
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    screen = Console(stderr=True)
    async with scorer(settings) as ready:
        with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
            task = progress.add_task("scoring", total=len(files))
            async for row in _rows(files, tenant, ready, settings.max_bytes):
                progress.advance(task)
                if as_json:
                    json_lines([row])
                else:
                    rows.append(row)
    if not as_json:
        table(rows, _COLUMNS, "no files")


async def _rows(files: Sequence[Path], tenant: str, ready: Scorer, cap: int) -> AsyncIterator[dict[str, Any]]:
    """One row a file, in the order of the files, with as many on their way as keep the machine busy."""
    under_way: deque[asyncio.Task[dict[str, Any]]] = deque()
    for file in files:
        under_way.append(asyncio.create_task(_row(file, tenant, ready, cap)))
        if len(under_way) >= ready.width:
            yield await under_way.popleft()
    while under_way:
        yield await under_way.popleft()


async def _row(file: Path, tenant: str, ready: Scorer, cap: int) -> dict[str, Any]:
    try:
        data = await asyncio.to_thread(_read, file, cap)
        judgement, facts = await ready.score(data, tenant)
    except CannotEvaluate as error:
        judgement, facts = ready.judge.unable(error), None
    return score_line(str(file), judgement, facts, ready.bundle)


def _read(file: Path, cap: int) -> bytes:
    """As the worker reads file:// URIs, but for the folders: whoever names a file here may read it."""
    try:
        return read_file(file.absolute().as_uri().removeprefix("file://"), (Path("/"),), cap)
    except Undeliverable as error:
        raise CannotEvaluate(error.reason, error.detail) from error
