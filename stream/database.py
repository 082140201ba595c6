"""The way to Postgres: connections from a libpq URI, driver errors in our own words, the schema's revision.

The address is given to libpq as it is, so everything that psql understands works here: unix sockets,
several hosts, TLS parameters, a service file.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stream.errors import ConfigError, Outage, PixassayError, Undeliverable
from stream.partitions import create_partitions, newest_partition
from stream.reasons import Reason

_HERE = Path(__file__).resolve().parent
# Defaults of a connection; the address may set each of them otherwise. A server that is gone without a
# word (power, network) is noticed within half a minute instead of the kernel's quarter of an hour.
_CONNECTION: dict[str, Any] = {
    "application_name": "pixassay",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}
_STATEMENT_TIMEOUT = "30s"
_ROLES = ("reader.sql", "worker.sql")
# Classes of SQLSTATE (Postgres manual, appendix A) by what the caller must do about them.
_WAIT = frozenset({"08", "25", "40", "53", "55", "57", "58", "XX"})  # away, read-only, deadlock, full, ...
_SETUP = frozenset({"0A", "28", "3D", "3F", "42"})  # not allowed, not there, not this schema
# Alembic keeps what it works on in module globals: one upgrade at a time in a process.
_alembic_lock = threading.Lock()


def connect(database_url: str) -> sa.Engine:
    """An engine for a libpq URI or key=value string. Nothing is contacted yet. Raises ConfigError."""
    try:
        address = make_conninfo(**{**_CONNECTION, **conninfo_to_dict(database_url)})
    except psycopg.Error:
        # Without the cause: libpq quotes the address, and with it the password.
        raise ConfigError(
            "PIXASSAY_DATABASE_URL is no address of a Postgres database; "
            "postgresql://user:password@host:5432/database was expected"
        ) from None

    def dial() -> psycopg.Connection[Any]:
        connection = psycopg.connect(address)
        connection.execute(f"SET statement_timeout = '{_STATEMENT_TIMEOUT}'")
        connection.execute("SET timezone = 'UTC'")
        connection.commit()
        return connection

    return sa.create_engine("postgresql+psycopg://", creator=dial, pool_size=2, max_overflow=2)


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that commits at the end; errors as in `our_errors`."""
    with our_errors(), engine.begin() as connection:
        yield connection


@contextmanager
def our_errors() -> Iterator[None]:
    """Every error of the driver in our own words.

    Raises Outage (wait and try again), ConfigError (the schema or a right is missing) or
    Undeliverable (Postgres refuses what a row holds).
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _translated(error.orig) from error
    except psycopg.Error as error:
        raise _translated(error) from error
    except UnicodeEncodeError as error:
        raise Undeliverable(
            Reason.INTERNAL_ERROR, f"the row holds text that is not Unicode: {error}"
        ) from error


def _translated(cause: BaseException | None) -> PixassayError:
    state = getattr(cause, "sqlstate", None)
    said = getattr(getattr(cause, "diag", None), "message_primary", None) or str(cause).partition("\n")[0]
    kind = (state or "")[:2]
    if kind in _SETUP:
        return ConfigError(f"the database refuses: {said}; check its user's rights and `pixassay db upgrade`")
    # Without a state the error is the driver's own: the connection is gone, or a value cannot be sent.
    lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    if kind in _WAIT or (state is None and lost):
        return Outage("database", said)
    return Undeliverable(Reason.INTERNAL_ERROR, f"the database refuses the row: {said}")


def migrations() -> Path:
    """The folder of the migrations: inside the package once installed, beside it in a checkout."""
    packed = _HERE / "migrations"
    return packed if packed.is_dir() else _HERE.parent / "migrations"


def upgrade(database_url: str) -> list[str]:
    """Bring the schema to this release's revision, make this and the next month's partition and the
    roles of readers and workers. Safe to run at any time and from several places at once.

    Returns warnings of the server, one sentence each. Raises Outage or ConfigError.
    """
    engine, warnings = connect(database_url), list[str]()
    try:
        with our_errors(), engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.add_notice_handler(lambda notice: _keep_warning(notice, warnings))
            with _alembic_lock:
                command.upgrade(_alembic(connection), "head")
            connection.commit()  # ends what Alembic began to read the present revision
            with connection.begin():
                for role in _ROLES:
                    driver.execute((migrations() / role).read_text("utf-8"))
            create_partitions(connection, datetime.now(UTC).date(), months=1)
    finally:
        engine.dispose()
    return warnings


@contextmanager
def maintenance(database_url: str) -> Iterator[sa.Connection]:
    """A connection for the owner's work on the tables, the schema checked, no transaction open.

    Errors as in `our_errors`, and ConfigError where the schema is not that of this release.
    """
    engine = connect(database_url)
    try:
        with our_errors(), engine.connect() as connection:
            require_head(connection)
            connection.rollback()  # what follows has transactions of its own
            yield connection
    finally:
        engine.dispose()


def require_head(connection: sa.Connection) -> str:
    """The schema's revision. Raises ConfigError where it is not that of this release."""
    wanted = ScriptDirectory.from_config(_alembic(connection)).get_current_head()
    found = MigrationContext.configure(connection).get_current_revision()
    if found != wanted:
        state = f"is at revision {found}, this release needs {wanted}" if found else "has no tables yet"
        raise ConfigError(f"the database {state}: run `pixassay db upgrade`")
    return str(found)


def check_schema(database_url: str) -> str:
    """What answers at the address, in one line. Raises ConfigError or Outage."""
    engine = connect(database_url)
    try:
        with transaction(engine) as connection:
            revision = require_head(connection)
            version = connection.scalar(sa.text("SHOW server_version"))
            newest = newest_partition(connection)
    finally:
        engine.dispose()
    return f"PostgreSQL {version}, schema {revision}, newest partition {newest}"


def _alembic(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _keep_warning(notice: psycopg.errors.Diagnostic, warnings: list[str]) -> None:
    if notice.severity_nonlocalized == "WARNING" and notice.message_primary:
        warnings.append(notice.message_primary)
