"""What the embedded servers share: a folder, kept ports, and start, stop, restart on one address."""

import importlib.metadata
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from stream.embedded.places import Ports, temporary_folder
from stream.embedded.process import Child
from stream.errors import ConfigError


class Server(ABC):
    """A context manager: inside it the server runs, after it nothing is left of it."""

    name: str  # for people
    package: str  # the distribution that carries the binary
    port_count: int

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._child: Child | None = None
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self._resources.close)
            self.prepare()
            self.wait()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def prepare(self) -> None:
        """Make the folder, keep the ports and start the process without waiting for it."""
        held = Ports(self.port_count)
        self._resources.callback(held.close)
        self.ports = held.numbers
        folder = self._resources.enter_context(temporary_folder(self.name.lower()))
        self._child = self.make_child(folder)
        self._resources.callback(self._child.stop)
        self._child.start()

    @abstractmethod
    def make_child(self, folder: Path) -> Child:
        """The process, not started. Everything that it writes goes below `folder`."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """PIXASSAY_* variables that point a worker here."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does its work now."""

    @property
    def child(self) -> Child:
        """The process. Raises ConfigError outside the with statement."""
        if self._child is None:
            raise ConfigError(f"{self.name} was not started: use it in a with statement")
        return self._child

    @property
    def version(self) -> str:
        """Name and version, as reports name the service."""
        return f"{self.name} ({self.package} {importlib.metadata.version(self.package)})"

    def wait(self) -> None:
        """Return when it answers. Raises ConfigError where it does not start."""
        self.child.wait_until(self.answers)

    def start(self) -> None:
        """Start it on its address and return when it answers."""
        self.child.start()
        self.wait()

    def stop(self) -> None:
        """Stop it; the address stays kept for it."""
        self.child.stop()

    def restart(self) -> None:
        """Stop it and start it again on the same address."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: an outage in which connections hang and no data is lost."""
        self.child.pause()

    def resume(self) -> None:
        """End the freeze."""
        self.child.resume()
