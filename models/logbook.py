"""The figures of a stage: <stage>.csv with a header row, and TensorBoard scalars beside it."""

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

BOARD = "tensorboard"  # folder in a run: `tensorboard --logdir RUN` shows all stages


class Logbook:
    """One row a step. A run that goes on behind step `since` drops the rows that came after it."""

    def __init__(self, folder: Path, stage: str, since: int) -> None:
        self._file = folder / f"{stage}.csv"
        rows = _read(self._file)
        self._stream = self._file.open("w", newline="", encoding="utf-8")
        self._writer = self._begin(list(rows[0])) if rows else None
        for row in rows:
            if self._writer and int(row["step"]) <= since:
                self._writer.writerow(row)
        self._board = SummaryWriter(folder / BOARD / stage, purge_step=since + 1)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """One row. The first step of a stage names all columns; a figure that is missing leaves a gap."""
        self._writer = self._writer or self._begin(["step", *figures])
        self._writer.writerow({"step": step, **{name: f"{value:.6g}" for name, value in figures.items()}})
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def _begin(self, columns: list[str]) -> "csv.DictWriter[str]":
        writer = csv.DictWriter(self._stream, columns)
        writer.writeheader()
        return writer

    def flush(self) -> None:
        """Onto the disk, before the state that goes with it."""
        self._stream.flush()
        self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._board.close()


def _read(file: Path) -> list[dict[str, str]]:
    """Whole rows; one that was cut off in the middle is left out."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if None not in row.values()]
