"""What is measured, and on what."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

Engine = Literal["postgres", "mariadb", "sqlite"]
Operation = Literal["get", "put"]

ENGINES: tuple[Engine, ...] = ("postgres", "mariadb", "sqlite")
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 256)
# Batches have so many operations, over so many connections.
BATCH = 100
BATCH_CONNECTIONS = 16
DEEP_ITEMS = 1_000_000
# Keys are `kvctl seed`'s with this prefix: 1000001, 1000002 and so on. So pgbench can draw a number and send it as the
# key; with letters in it the server would have to build the text, and pgbench would measure that as well.
PREFIX = "1"
FIRST_KEY = 1_000_001

# The others.
PGBENCH = "pgbench"
DJANGO = "FastAPI + Django"
PLAIN = "Poem + SeaORM"

# By engine and operation: at so many connections, so many times the rate of the plain service or more.
PLAIN_GOALS: dict[tuple[Engine, Operation], dict[int, float]] = {
    ("postgres", "get"): {1: 1.15, 64: 3.5, 256: 3.5},
    ("postgres", "put"): {16: 1.6, 64: 4, 256: 6},
    ("mariadb", "get"): {},
    ("mariadb", "put"): {1: 1, 4: 1.3, 16: 3, 64: 5},
    ("sqlite", "get"): {},
    ("sqlite", "put"): {1: 1.3, 16: 5, 64: 10},
}
# The same, where the table above says nothing.
LEAST_GOALS: dict[tuple[Engine, Operation], float] = {
    ("postgres", "get"): 1,
    ("postgres", "put"): 1,
    ("mariadb", "get"): 1.1,
    ("sqlite", "get"): 1.3,
}
PGBENCH_GOALS: dict[Operation, dict[int, float]] = {
    "get": {1: 0.45, 64: 1, 256: 1.5},
    "put": {1: 0.6, 4: 0.55, 16: 1, 64: 1.6, 256: 3},
}

# Items in a second, in batches on PostgreSQL; and how many times the rate of single writes over 64 connections.
BATCH_GOALS: dict[Operation, float] = {"get": 80_000, "put": 30_000}
BATCH_SINGLE_GOAL = 2


@dataclass(frozen=True)
class Data:
    """A database with so many items, whose values are of so many bytes."""

    name: str
    items: int
    value_bytes: int


USUAL = Data("items", 100_000, 128)
LARGE = (
    Data("items4", 10_000, 4 << 10),
    Data("items64", 500, 64 << 10),
    Data("items250", 500, 250_000),
)
DEEP = Data("many", DEEP_ITEMS, 128)


@dataclass(frozen=True)
class Work:
    """One operation on random items, over so many connections; goals are multiples of the rates of the others."""

    operation: Operation
    connections: int
    engine: Engine = "postgres"
    data: Data = USUAL
    goals: dict[str, float] = field(default_factory=dict, hash=False)
    # How many operations a request has.
    batch: int = 1

    @property
    def name(self) -> str:
        engine = [] if self.engine == "postgres" else [self.engine]
        size = [] if self.data == USUAL else [self.data.name.removeprefix("items") + "k"]
        batch = [] if self.batch == 1 else ["batch"]
        return "-".join([*engine, *batch, self.operation, *size, str(self.connections)])

    @property
    def left_out(self) -> set[str]:
        """The slow one takes part only where it has a goal, pgbench with values of the usual size, and nobody else has
        batches."""
        if self.batch > 1:
            return {DJANGO, PLAIN, PGBENCH}
        left_out = {DJANGO} - self.goals.keys()
        return left_out if self.engine == "postgres" and self.data == USUAL else left_out | {PGBENCH}


def works() -> Iterator[Work]:
    for engine in ENGINES:
        for operation in ("get", "put"):
            for connections in CONNECTIONS:
                yield Work(operation, connections, engine, USUAL, goals(engine, operation, connections))
    for data in LARGE:
        for connections in (4, 32):
            yield Work("get", connections, data=data, goals={PLAIN: 1.1})
            yield Work("put", connections, data=data, goals={PLAIN: 1.3 if connections == 32 else 1})
    for engine in ENGINES:
        for operation in ("get", "put"):
            yield Work(operation, BATCH_CONNECTIONS, engine, batch=BATCH)


def goals(engine: Engine, operation: Operation, connections: int) -> dict[str, float]:
    met: dict[str, float] = {}
    least = LEAST_GOALS.get((engine, operation))
    plain = PLAIN_GOALS[engine, operation].get(connections, least)
    if plain is not None:
        met[PLAIN] = plain
    if engine == "postgres" and connections in PGBENCH_GOALS[operation]:
        met[PGBENCH] = PGBENCH_GOALS[operation][connections]
    if (engine, operation, connections) == ("postgres", "get", 64):
        met[DJANGO] = 30
    return met


WORKS = tuple(works())


@dataclass(frozen=True)
class Sample:
    """What one run of a load generator counted; latencies in milliseconds."""

    done: int
    rate: float
    p50: float
    p99: float


class Subject(Protocol):
    """Something that can be given the works."""

    name: str

    def run(self, work: Work, threads: int, seconds: int) -> Sample:
        """Runs the work for so long, with so many threads of the load generator."""

    def processor_seconds(self) -> float:
        """What it has used of the processors, without its database."""
