"""SQLite: files, within the process that serves them."""

import sqlite3
from contextlib import closing
from pathlib import Path


class Sqlite:
    """A folder of databases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sqlite"
        self.folder.mkdir()

    def url(self, database: str) -> str:
        return f"sqlite://{self.file(database)}"

    def file(self, database: str) -> Path:
        return self.folder / f"{database}.db"

    def create(self, database: str) -> None:
        """`kvctl migrate` creates the file; the plain service takes it as it is then, durable and with a log."""

    def settle(self, database: str) -> None:
        self.ask(database, "PRAGMA wal_checkpoint(TRUNCATE)")

    def versions(self, database: str) -> int:
        return self.ask(database, "SELECT sum(version) FROM items")

    def ask(self, database: str, statement: str) -> int:
        with closing(sqlite3.connect(self.file(database), timeout=60)) as connection:
            (number, *_) = connection.execute(statement).fetchone()
            return int(number)

    def processor_seconds(self) -> float:
        return 0

    def describe(self) -> dict[str, str]:
        return {"SQLite": "in kvd and in the plain service; journal_mode=WAL, synchronous=FULL"}
