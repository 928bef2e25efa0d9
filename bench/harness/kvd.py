"""kvd itself: its programs, its data, its start."""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .database import Database
from .process import Command, Failure, Server, free_port, output_of
from .work import PREFIX, USUAL, Data
from .wrk import Service

ROOT = Path(__file__).parent.parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


@dataclass(frozen=True)
class Footprint:
    """What kvd takes before anybody asks it for anything."""

    start_milliseconds: float
    idle_bytes: int
    binary_bytes: int


def build() -> tuple[Path, Path]:
    """kvd and kvctl, as released. Takes minutes, so cargo may show how far it is."""
    cargo = ["cargo", "build", "--release", "--locked", "-p", "api", "-p", "cli"]
    if subprocess.run(cargo, cwd=ROOT).returncode != 0:
        raise Failure("kvd cannot be built")
    return TARGET / "release/kvd", TARGET / "release/kvctl"


def fill(kvctl: Path, database: Database, data: Data) -> None:
    """A new database with these items."""
    database.create(data.name)
    env = {"DATABASE_URL": database.url(data.name)}
    output_of([kvctl, "migrate"], env=env)
    seed = ["seed", "--prefix", PREFIX, "--count", str(data.items), "--value-bytes", str(data.value_bytes)]
    output_of([kvctl, *seed], env=env)
    database.settle(data.name)


@contextmanager
def serve(kvd: Path, database: Database, data: Data, folder: Path, name: str = "kvd") -> Iterator[Service]:
    """Everything at its default, the log too, but for the limit of requests."""
    port = free_port()
    command: Command = [kvd, "--listen", f"127.0.0.1:{port}", "--rate-limit", "0"]
    with Server(command, folder / f"{name}.log", env={"DATABASE_URL": database.url(data.name)}) as server:
        service = Service(name, server, port, data)
        server.wait_until(service.answers)
        yield service


def footprint(kvd: Path, database: Database, folder: Path, starts: int) -> Footprint:
    milliseconds, resident = [], []
    for _ in range(starts):
        before = time.perf_counter()
        with serve(kvd, database, USUAL, folder) as service:
            milliseconds.append((time.perf_counter() - before) * 1000)
            # Long enough for memory that only the start needed to be given back.
            time.sleep(3)
            resident.append(service.server.memory("VmRSS"))
    return Footprint(statistics.median(milliseconds), int(statistics.median(resident)), kvd.stat().st_size)
