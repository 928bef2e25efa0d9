"""Two other services: the design that kvd replaces, and a plain one of Poem and SeaORM."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .database import Database
from .kvd import ROOT, TARGET
from .postgres import Postgres
from .process import Command, Failure, Server, free_port, output_of
from .work import DJANGO, PLAIN, Data
from .wrk import Service

BENCH = ROOT / "bench"
WORKERS = 2


def python() -> Path:
    """The interpreter of an environment with exactly the packages of `requirements.txt`."""
    folder = TARGET / "bench-venv"
    requirements = BENCH / "requirements.txt"
    installed = folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        output_of([sys.executable, "-m", "venv", "--clear", folder])
        output_of([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])
        installed.write_text(requirements.read_text())
    return folder / "bin/python"


@contextmanager
def plain(database: Database, data: Data, folder: Path) -> Iterator[Service]:
    """Each request asks the database for itself, through the driver's pool."""
    target = TARGET / "bench-plain"
    cargo: Command = ["cargo", "build", "--release", "--locked", "--target-dir", target]
    if subprocess.run(cargo, cwd=BENCH / "peers/plain").returncode != 0:
        raise Failure("the plain service cannot be built")
    port = free_port()
    command: Command = [target / "release/plain", database.url(data.name), f"127.0.0.1:{port}"]
    with Server(command, folder / "plain.log") as server:
        service = Service(PLAIN, server, port, data)
        server.wait_until(service.answers)
        yield service


@contextmanager
def django(postgres: Postgres, data: Data, folder: Path) -> Iterator[Service]:
    port = free_port()
    command: Command = [
        *(python(), "-m", "uvicorn", "app:app", "--app-dir", BENCH / "peers"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    ]
    with Server(command, folder / "peers.log", env=postgres.env | {"PGDATABASE": data.name}) as server:
        service = Service(DJANGO, server, port, data)
        server.wait_until(service.answers)
        yield service
