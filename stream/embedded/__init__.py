"""Real servers for the demo and the tests: a Kafka broker, Postgres and an object store.

Each runs from a wheel on free loopback ports in its own temporary folder, is asked whether it
answers before it counts as started, and dies with the process that started it.
"""

from stream.embedded.broker import Tansu
from stream.embedded.postgres import Postgres
from stream.embedded.stack import Stack, embedded_stack
from stream.embedded.store import DirectoryStore, ObjectStore, S3Store, SeaweedFS

__all__ = [
    "DirectoryStore",
    "ObjectStore",
    "Postgres",
    "S3Store",
    "SeaweedFS",
    "Stack",
    "Tansu",
    "embedded_stack",
]
