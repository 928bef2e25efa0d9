"""What is measured, and on what."""

from dataclasses import dataclass
from typing import Literal, Protocol

Operation = Literal["get", "put"]

ITEMS = 100_000
DEEP_ITEMS = 1_000_000
# Keys are `kvctl seed`'s with this prefix: 1000001, 1000002 and so on. So pgbench can draw a number and send it as the
# key; with letters in it the server would have to build the text, and pgbench would measure that as well.
PREFIX = "1"
FIRST_KEY = 1_000_001
VALUE_BYTES = 128
VALUE = "v" * VALUE_BYTES


@dataclass(frozen=True)
class Work:
    """One operation on random items, over so many connections; goals are multiples of the other's rate."""

    operation: Operation
    connections: int
    goal: float | None = None
    peer_goal: float | None = None

    @property
    def name(self) -> str:
        return f"{self.operation}-{self.connections}"


WORKS = (
    Work("get", 1, goal=0.45),
    Work("get", 4),
    Work("get", 16),
    Work("get", 64, goal=1.0, peer_goal=30),
    Work("get", 256, goal=1.4),
    Work("put", 1, goal=0.6),
    Work("put", 4),
    Work("put", 16),
    Work("put", 64, goal=1.2),
    Work("put", 256, goal=1.8),
)


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
