"""What the benchmark asks of a database, whichever engine it is of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .mariadb import private_mariadb
from .postgres import private_postgres
from .sqlite import Sqlite
from .work import Engine


class Database(Protocol):
    """A server, or a folder of files, with databases by name."""

    def url(self, database: str) -> str: ...

    def create(self, database: str) -> None: ...

    def settle(self, database: str) -> None:
        """Does now what it would do by itself sooner or later, perhaps in the middle of a round."""

    def versions(self, database: str) -> int:
        """The sum of all versions: every write of an item raises its version by one."""

    def processor_seconds(self) -> float:
        """What the server has used of the processors; none if it has no process of its own."""

    def describe(self) -> dict[str, str]:
        """Version and settings."""


@contextmanager
def private_database(engine: Engine, folder: Path) -> Iterator[Database]:
    """A new one in a folder of its own, on the loopback interface."""
    match engine:
        case "postgres":
            with private_postgres(folder) as postgres:
                yield postgres
        case "mariadb":
            with private_mariadb(folder) as mariadb:
                yield mariadb
        case "sqlite":
            yield Sqlite(folder)
