"""A private MariaDB in a folder of its own."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import Command, Failure, Server, free_port, output_of, unprivileged_user

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")
# As in production, but for one: the redo log is large enough that no checkpoint falls into a round.
SETTINGS = {
    "max_connections": "1000",
    "innodb_buffer_pool_size": "1G",
    "innodb_log_file_size": "8G",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_doublewrite": "1",
}


class MariaDb:
    """A running server and its superuser."""

    def __init__(self, server: Server, port: int, password: str) -> None:
        self.server = server
        self.port = port
        self.password = password

    def url(self, database: str) -> str:
        return f"mysql://kvd:{self.password}@127.0.0.1:{self.port}/{database}"

    def client(self) -> Command:
        return ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port), "-u", "kvd", "-N", "-B"]

    def sql(self, statement: str) -> str:
        return output_of([*self.client(), "-e", statement], env={"MYSQL_PWD": self.password}).strip()

    def answers(self) -> bool:
        ping = subprocess.run(
            [*self.client(), "-e", "SELECT 1"], env=os.environ | {"MYSQL_PWD": self.password}, capture_output=True
        )
        return ping.returncode == 0

    def create(self, database: str) -> None:
        self.sql(f"CREATE DATABASE {database}")

    def settle(self, database: str) -> None:
        self.sql(f"ANALYZE TABLE {database}.items")

    def versions(self, database: str) -> int:
        return int(self.sql(f"SELECT sum(version) FROM {database}.items"))

    def processor_seconds(self) -> float:
        return self.server.processor_seconds()

    def describe(self) -> dict[str, str]:
        settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items())
        return {"MariaDB": self.sql("SELECT version()"), "MariaDB's settings": settings}


@contextmanager
def private_mariadb(folder: Path) -> Iterator[MariaDb]:
    """Makes a data folder below `folder` and runs a server on a free port of the loopback interface."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    for name in PROGRAMS:
        if not shutil.which(name, path=path):
            raise Failure(f"no MariaDB ({', '.join(PROGRAMS)}) found: apt-get install mariadb-server")
    user = unprivileged_user("mysql")
    home = folder / "mariadb"
    home.mkdir(mode=0o700)
    password = secrets.token_hex(16)
    grant = f"CREATE USER kvd@'127.0.0.1' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO kvd@'127.0.0.1';"
    (home / "init.sql").write_text(grant.replace("; ", ";\n"))
    if user:
        for each in (home, home / "init.sql"):
            shutil.chown(each, user)

    data = home / "data"
    install: Command = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"]
    with Server(install, folder / "install.log", user=user, env={"PATH": path}) as making:
        if making.process.wait() != 0:
            raise Failure(f"mariadb-install-db failed\n{making.log.read_text()}")

    port = free_port()
    settings = SETTINGS | {
        "datadir": str(data),
        "bind-address": "127.0.0.1",
        "port": str(port),
        "socket": str(home / "socket"),
        "init-file": str(home / "init.sql"),
    }
    program = shutil.which("mariadbd", path=path) or "mariadbd"
    command: Command = [program, "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]
    with Server([*command, "--skip-name-resolve"], folder / "mariadb.log", user=user) as server:
        mariadb = MariaDb(server, port, password)
        server.wait_until(mariadb.answers)
        yield mariadb
