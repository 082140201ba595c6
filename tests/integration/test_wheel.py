"""The wheel carries what it runs on, and nothing in it leans on the checkout or on torch."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_exactly_our_three_packages(unpacked: Path) -> None:
    names = {item.name for item in unpacked.iterdir() if not item.name.endswith(".dist-info")}
    assert names == {"stream", "models", "trt_build"}


def test_bundle_and_migrations_are_inside(unpacked: Path) -> None:
    assert (unpacked / "models" / "bundled" / "default" / "manifest.json").is_file()
    assert list(unpacked.rglob("env.py")), "Alembic's env.py is not in the wheel"


def test_the_service_imports_from_the_wheel_without_torch(unpacked: Path, tmp_path: Path) -> None:
    probe = (
        "import sys; sys.modules['torch'] = None\n"
        f"sys.path.insert(0, {str(unpacked)!r})\n"
        "import stream.app, stream.cli, stream.commands.score, stream.commands.worker, stream.commands.demo\n"
        "import stream.engines.choose, models.bundle\n"
        "print(stream.__file__)\n"
    )
    seen = subprocess.run(
        [sys.executable, "-P", "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.startswith(str(unpacked))


def test_the_database_is_made_from_the_wheel(unpacked: Path, tmp_path: Path, bare_database_url: str) -> None:
    probe = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r})\n"
        "from stream.queries import named_queries\n"
        "print(*named_queries(), flush=True)\n"
        "from stream.cli import main\n"
        "main(['db', 'upgrade'])\n"
    )
    seen = subprocess.run(
        [sys.executable, "-P", "-c", probe],
        cwd=tmp_path,
        env={"PIXASSAY_DATABASE_URL": bare_database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
    assert "review_queue" in seen.stdout
    assert "PostgreSQL" in seen.stdout
