"""How migrations run: one deployer at a time, a transaction each, never waiting long for a lock.

`stream.database.upgrade` hands over an open connection and closes it afterwards, which also releases
the advisory lock. A migration that cannot have its table lock within seconds fails and is rolled back:
it must not queue up in front of the workers' inserts.
"""

import sqlalchemy as sa
from alembic import context

# Any constant does, as long as every release uses the same.
_LOCK = 0x70697861
_BEFORE = (
    "SET lock_timeout = '120s'",  # for another deployer to finish
    f"SELECT pg_advisory_lock({_LOCK})",
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '10min'",
)


def run() -> None:
    """Bring the database of the connection that we were given to the revision that was asked for."""
    connection: sa.Connection = context.config.attributes["connection"]
    for statement in _BEFORE:
        connection.execute(sa.text(statement))
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


run()
