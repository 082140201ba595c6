"""Look up every pinned dependency in the vulnerability database of PyPI (or OSV), with pip-audit.

Exit status 0: all were looked up and none is known to be vulnerable. 1: some are; they are listed.
2: not all could be looked up, so nothing is proved; what could not is listed.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import orjson
import typer

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
# What a worker runs, and dev.txt with all the rest: the demo's servers, training, tests.
FILES = ("worker.txt", "gpu.txt", "dev.txt")
_SHOWN = 5  # names of packages that could not be looked up


def main(
    service: Literal["pypi", "osv"] = typer.Option(
        "pypi", help="Whose database of vulnerabilities is asked."
    ),
) -> None:
    """Audit the pinned requirements; no package is installed for it."""
    codes = [_audit(REQUIREMENTS / name, service) for name in FILES]
    raise typer.Exit(1 if 1 in codes else max(codes))


def _audit(path: Path, service: str) -> int:
    options = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--vulnerability-service",
        service,
        *options,
        "-r",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = orjson.loads(done.stdout)["dependencies"]
    except (orjson.JSONDecodeError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        _say(path, f"NOT AUDITED, the database of {service} could not be asked: {last}")
        return 2
    skipped = [item["name"] for item in found if "skip_reason" in item]
    broken = [item for item in found if item.get("vulns")]
    for item in broken:
        ids = ", ".join(one["id"] for one in item["vulns"])
        _say(path, f"{item['name']} {item['version']} is vulnerable: {ids}")
    if skipped:
        named = ", ".join(skipped[:_SHOWN]) + (", ..." if len(skipped) > _SHOWN else "")
        _say(path, f"NOT AUDITED: {len(skipped)} of {len(found)} were not found at {service}: {named}")
    if not broken and not skipped:
        _say(path, f"none of {len(found)} packages is known to be vulnerable")
    return 1 if broken else 2 if skipped else 0


def _say(path: Path, words: str) -> None:
    sys.stdout.write(f"{path.name}: {words}\n")


if __name__ == "__main__":
    typer.run(main)
