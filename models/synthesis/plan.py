"""What is to be made: a plan file (TOML) -> a shuffled list of jobs. Nothing is computed here."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.layouts import pictures_below
from models.synthesis.base import SynthesisError
from models.synthesis.copies import seeded

DEFAULT = Path(__file__).with_name("plan.toml")


@dataclass(frozen=True, slots=True)
class Job:
    """One copy of one picture, and the generators that re-synthesise it (none for a ready-made fake)."""

    photograph: Path
    source: str
    stem: str  # the picture's name within its source
    group: str  # the photograph, or the prompt that several pictures share
    copy: int
    short_sides: tuple[int, int]
    whole: bool  # never crop
    generator: str  # of a ready-made synthetic picture; "" for a real photograph
    generators: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique file stem: source, picture, copy."""
        return f"{self.source}__{self.stem}__{self.copy}"


def read_plan(file: Path) -> dict[str, Any]:
    """The plan as written. Raises SynthesisError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SynthesisError(f"{file} is no plan that can be read: {error}") from error


def jobs(plan: dict[str, Any], folders: list[Path], seed: int) -> list[Job]:
    """All jobs in a seeded order that mixes the sources, so that any beginning is a usable data set."""
    made: list[Job] = []
    for entry in plan["source"]:
        for photograph in _choose(entry, folders, seed):
            for copy in range(entry.get("copies", 1)):
                made.append(_job(entry, photograph, copy, plan["rates"], seed))
    order = seeded(seed, "order").permutation(len(made))
    return [made[index] for index in order]


def _choose(entry: dict[str, Any], folders: list[Path], seed: int) -> list[Path]:
    """The source's pictures, a seeded choice of them where the plan wants fewer."""
    for folder in folders:
        found = pictures_below(folder / entry["folder"])
        if found:
            wanted = min(entry.get("photographs", len(found)), len(found))
            order = seeded(seed, "choice", entry["name"]).permutation(len(found))[:wanted]
            return [found[index] for index in sorted(order)]
    looked = ", ".join(str(folder) for folder in folders)
    raise SynthesisError(f"no pictures of {entry['name']}: none of {looked} has a folder {entry['folder']}")


def _job(entry: dict[str, Any], photograph: Path, copy: int, rates: dict[str, float], seed: int) -> Job:
    stem = _stem(entry, photograph)
    group = f"{entry['name']}/{_prompt(entry, stem) or stem}"
    ready = entry.get("generator", "")
    boosted = {**rates, **entry.get("rates", {})}
    draws = seeded(seed, "generators", group, copy).random(len(boosted))
    chosen = [name for name, draw in zip(boosted, draws, strict=True) if draw < boosted[name]]
    low, high = entry["short_sides"]
    generators = () if ready else tuple(chosen)
    whole = bool(entry.get("whole", False))
    return Job(photograph, entry["name"], stem, group, copy, (low, high), whole, ready, generators)


def _stem(entry: dict[str, Any], photograph: Path) -> str:
    """The file's stem; below class folders with the class before it, as the same numbers recur there."""
    parent = photograph.parent.name
    return photograph.stem if parent == entry["folder"] else f"{parent}_{photograph.stem}"


def _prompt(entry: dict[str, Any], stem: str) -> str:
    """Which prompt a ready-made picture is of, where runs of `per_prompt` numbers share one."""
    if "per_prompt" not in entry:
        return ""
    number = int(re.findall(r"\d+", stem)[-1])
    return f"prompt_{number // entry['per_prompt']}"
