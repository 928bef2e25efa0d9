"""The design kvd replaces, in a virtual environment of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .kvd import ROOT, TARGET
from .postgres import Postgres
from .process import Command, Server, free_port, output_of
from .wrk import Service

BENCH = ROOT / "bench"
NAME = "FastAPI + Django"
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
def serve(postgres: Postgres, database: str, folder: Path) -> Iterator[Service]:
    port = free_port()
    command: Command = [
        *(python(), "-m", "uvicorn", "app:app", "--app-dir", BENCH / "peers"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    ]
    with Server(command, folder / "peers.log", env=postgres.env | {"PGDATABASE": database}) as server:
        service = Service(NAME, server, port)
        server.wait_until(service.answers)
        yield service
