"""python -m tests.fuzz: fuzz one target for a time. Exit status 1 where something was found.

A finding is left in `--findings`. Once it is mended it belongs into tests/fuzz/cases/<target>: `make test`
checks all that lie there.
"""

import importlib.util
import os
import re
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import orjson
import typer

from tests.fuzz.targets import TARGETS

_ONE_S = 25  # longest check of one input; the decoder's own limit is 20 s, kept by its parent
MEMORY_MB = 3072
_DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. `edges`: places in the instrumented bytecode that some input reached."""

    target: str
    seed: int
    seconds: int
    inputs: int
    edges: int
    corpus: int  # inputs of which each reached something new
    findings: list[str]  # files


def main(
    target: Annotated[Literal["events", "decode"], typer.Option(help="What is fuzzed.")],
    seconds: Annotated[int, typer.Option(min=1, help="For how long.")] = 300,
    seed: Annotated[int, typer.Option(min=1, help="Draws the inputs.")] = 1,
    findings: Annotated[
        Path, typer.Option(help="Folder that an input which breaks something is put into.")
    ] = Path("runs/fuzz"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Fuzz with Atheris, from the seeds of the target."""
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("fuzzing needs atheris, which has wheels for Linux on x86_64 only: make dev\n")
        raise typer.Exit(2)
    result, output = fuzz(target, seconds, seed, findings)
    sys.stdout.write(orjson.dumps(asdict(result)).decode() + "\n" if as_json else _told(result, output))
    raise typer.Exit(1 if result.findings else 0)


def fuzz(target: str, seconds: int, seed: int, findings: Path) -> tuple[Result, str]:
    """Run Atheris in a process of its own. Its last words are the second value. Raises RuntimeError."""
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    with TemporaryDirectory() as scratch:
        corpus = Path(scratch)
        for number, data in enumerate(TARGETS[target].seeds()):
            (corpus / f"seed-{number:03d}").write_bytes(data)
        options = {
            "max_total_time": seconds,
            "seed": seed,
            "max_len": TARGETS[target].most_bytes,
            "len_control": 0,
            "timeout": _ONE_S,
            "rss_limit_mb": MEMORY_MB + _own_peak_mb(),
            "artifact_prefix": f"{findings}/{target}-",
            "close_fd_mask": 2,  # native decoders complain of every broken file
        }
        flags = [f"-{name}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "tests.fuzz.child", target, *flags, str(corpus)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=dict(os.environ)
        )
    output = done.stdout + done.stderr
    found = sorted(str(path) for path in set(findings.iterdir()) - before)
    counts = _DONE.search(output)
    if counts is None and not found:
        raise RuntimeError(f"Atheris ended with status {done.returncode}: {output[-2000:]}")
    inputs, edges, _, kept = map(int, counts.groups()) if counts else (0, 0, 0, 0)
    return Result(target, seed, seconds, inputs, edges, kept, found), output


def _own_peak_mb() -> int:
    """libFuzzer asks for the highest memory that a process ever had, and a child inherits its parent's."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _told(result: Result, output: str) -> str:
    lines = [f"{name}: {value}" for name, value in asdict(result).items() if name != "findings"]
    last_words = [output[-3000:]] if result.findings else []
    return "\n".join([*lines, f"findings: {len(result.findings)}", *result.findings, *last_words, ""])


if __name__ == "__main__":
    typer.run(main)
