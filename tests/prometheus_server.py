"""Prometheus for the tests: as installed, or else the Debian package, unpacked into a folder of ours."""

import fcntl
import functools
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child
from stream.embedded.server import Server

TARGET = Path(__file__).resolve().parent.parent / "deploy" / "monitoring" / "target"

_CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: pixassay
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus(Server):
    """A server that scrapes one worker twice a second and evaluates the rules of one file."""

    name = "Prometheus"
    port_count = 1

    def __init__(self, target: str, rules: Path) -> None:
        """`target` is the host:port of the worker's /metrics."""
        super().__init__()
        self._target, self._rules = target, rules

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports[0]}"

    @property
    def version(self) -> str:
        told = subprocess.run(
            [program("prometheus"), "--version"], capture_output=True, text=True, check=True
        )
        return (told.stdout or told.stderr).splitlines()[0].partition(" (")[0]

    def variables(self) -> dict[str, str]:
        return {}  # a worker does not know who scrapes it

    def make_child(self, folder: Path) -> Child:
        configuration = folder / "prometheus.yaml"
        configuration.write_text(_CONFIGURATION.format(rules=self._rules, target=self._target))
        where = (f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}")
        address = f"--web.listen-address={LOOPBACK}:{self.ports[0]}"
        return Child(self.name, (program("prometheus"), *where, address), folder, grace_s=10)

    def answers(self) -> bool:
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def ask(self, path: str, **query: str) -> Any:
        """The `data` of an answer of the HTTP API."""
        return json.loads(self._get(f"/api/v1/{path}?{urllib.parse.urlencode(query)}"))["data"]

    def _get(self, path: str) -> bytes:
        """The body of an answer. Raises OSError where there is none, or where it is an error."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - our own http://
            return bytes(answer.read())

    def value(self, expression: str) -> float | None:
        """What an expression gives now; None where there is no such series."""
        found = self.ask("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[tuple[str, str]]:
        """(alert, the part that its labels name) of the alerts that fire now."""
        alerts = [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
        return {(alert["labels"]["alertname"], alert["labels"].get("part", "")) for alert in alerts}


def require_prometheus() -> None:
    """Skip, with the reason, where it cannot be had; in CI it must be."""
    try:
        program("prometheus")
        program("promtool")
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"neither is Prometheus installed nor can apt-get download it: {error}")


@functools.cache
def program(name: str) -> Path:
    """prometheus or promtool. Raises OSError or CalledProcessError where it cannot be had."""
    if installed := shutil.which(name):
        return Path(installed)
    TARGET.mkdir(parents=True, exist_ok=True)
    with (TARGET / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may come here at once
        if not (TARGET / "usr").exists():
            _download()
    return TARGET / "usr" / "bin" / name


def _download() -> None:
    """The package as apt knows it, its signature checked, unpacked and not installed."""
    fetch = ("apt-get", "download", "--quiet", "prometheus")
    if _run(*fetch).returncode and os.environ.get("CI") == "true":
        _run("apt-get", "update", "--quiet")  # a new machine has no package lists yet
    _run(*fetch).check_returncode()
    for package in TARGET.glob("prometheus_*.deb"):
        _run("dpkg-deb", "--extract", package.name, "unpacked").check_returncode()
        package.unlink()
    (TARGET / "unpacked" / "usr").rename(TARGET / "usr")
    shutil.rmtree(TARGET / "unpacked")


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=TARGET, capture_output=True, text=True, check=False)
