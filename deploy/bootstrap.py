"""Make one of the project's virtual environments with nothing but a system Python.

Usage: bootstrap.py VENV UV_VERSION REQUIREMENTS

Steps: a venv by the standard library, uv into it, the locked requirements (hashes checked),
then this project itself as an editable install. Safe to run again: uv skips what is there.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(venv: Path, uv_version: str, requirements: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - a stranger's python3 may be older
        sys.exit(f"pixassay needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=")
    if not (venv / "bin" / "python").exists():
        make_venv(venv)
    python = venv / "bin" / "python"
    if not (venv / "bin" / "uv").exists():
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"uv=={uv_version}")
    uv = venv / "bin" / "uv"
    target = ("--python", str(python))
    run(uv, "pip", "install", *target, "--require-hashes", "--requirement", requirements)
    build = ("--build-constraints", "requirements/build.txt")
    run(uv, "pip", "install", *target, "--quiet", "--no-deps", *build, "--editable", ".")


def make_venv(venv: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(venv)], cwd=ROOT, check=False)
    if made.returncode:
        sys.exit(
            f"python could not make the virtual environment {venv}. On Debian and Ubuntu install the "
            "package python3-venv, remove the half-made folder and run the command again."
        )


def run(*command: Path | str) -> None:
    finished = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if finished.returncode:
        sys.exit(f"{Path(command[0]).name} failed ({finished.returncode}); see the lines above")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(ROOT / sys.argv[1], sys.argv[2], sys.argv[3])
