"""A private PostgreSQL in a folder of its own."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import Command, Failure, Server, free_port, output_of, unprivileged_user

PROGRAMS = ("initdb", "postgres", "pg_isready", "psql", "pgbench")
# As in production, but for two: nothing runs by itself in the middle of a round. Checkpoints are put off beyond the
# end, and the table is vacuumed before every round instead of by autovacuum.
SETTINGS = {
    # Those of the last run may still be ending.
    "max_connections": "1000",
    "shared_buffers": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1d",
    "autovacuum": "off",
}


class Postgres:
    """A running server and its superuser."""

    def __init__(self, server: Server, programs: Path, port: int, password: str) -> None:
        self.server = server
        self.programs = programs
        self.port = port
        self.env = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "kvd", "PGPASSWORD": password}

    def url(self, database: str) -> str:
        return f"postgres://kvd:{self.env['PGPASSWORD']}@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, statement: str) -> str:
        psql: Command = [self.programs / "psql", "-X", "-q", "-A", "-t", "-d", database, "-c", statement]
        return output_of(psql, env=self.env).strip()

    def create(self, database: str) -> None:
        self.sql("postgres", f"CREATE DATABASE {database}")

    def settle(self, database: str) -> None:
        """As autovacuum would leave it."""
        self.sql(database, "VACUUM (ANALYZE) items")

    def versions(self, database: str) -> int:
        return int(self.sql(database, "SELECT sum(version) FROM items"))

    def processor_seconds(self) -> float:
        return self.server.processor_seconds()

    def describe(self) -> dict[str, str]:
        settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items())
        return {"PostgreSQL": self.sql("postgres", "SHOW server_version"), "PostgreSQL's settings": settings}

    def answers(self) -> bool:
        ready: Command = [self.programs / "pg_isready", "-q"]
        return subprocess.run(ready, env=os.environ | self.env).returncode == 0


@contextmanager
def private_postgres(folder: Path) -> Iterator[Postgres]:
    """Makes a cluster below `folder` and runs it on a free port of the loopback interface."""
    programs = find_programs()
    user = unprivileged_user("postgres")
    home = folder / "postgres"
    home.mkdir(mode=0o700)
    password = secrets.token_hex(16)
    (home / "password").write_text(password)
    if user:
        for path in (home, home / "password"):
            shutil.chown(path, user)

    data = home / "data"
    initdb: Command = [
        *(programs / "initdb", "-D", data, "-U", "kvd", "-E", "UTF8", "--locale=C.UTF-8"),
        *("--auth=password", f"--pwfile={home / 'password'}"),
    ]
    with Server(initdb, folder / "initdb.log", user=user) as making:
        if making.process.wait() != 0:
            raise Failure(f"initdb failed\n{making.log.read_text()}")

    port = free_port()
    settings = SETTINGS | {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
    command: Command = [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
    # SIGINT: end all sessions, and stop.
    with Server(command, folder / "postgres.log", user=user, stop=signal.SIGINT) as server:
        postgres = Postgres(server, programs, port, password)
        server.wait_until(postgres.answers)
        yield postgres


def find_programs() -> Path:
    """The folder on `PATH` that has them all, else Debian's newest, which it keeps out of the path."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(debian, key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in [*map(Path, os.get_exec_path()), *newest_first]:
        if all(shutil.which(name, path=str(folder)) for name in PROGRAMS):
            return folder
    raise Failure(f"no PostgreSQL ({', '.join(PROGRAMS)}) found: apt-get install postgresql")
