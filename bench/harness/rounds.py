"""Alternating rounds, so that whatever else the machine does hits everybody."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .pgbench import Pgbench
from .postgres import Postgres
from .process import Failure
from .work import DEEP_ITEMS, Sample, Subject, Work
from .wrk import Service

CURSOR_PAGE_SIZE = 100
DEEP_PAGE = "/items/?page=10000&page_size=10"


@dataclass(frozen=True)
class Round:
    """One run of one subject."""

    number: int
    work: str
    subject: str
    threads: int
    sample: Sample


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int


def item_rounds(
    plan: Plan, works: Sequence[Work], subjects: Sequence[Subject], postgres: Postgres, database: str
) -> Iterator[Round]:
    """Every subject does every work, round after round."""

    def run(subject: Subject, work: Work, threads: int, seconds: int) -> Sample:
        """Every run finds the table alike, whoever wrote to it before."""
        postgres.sql(database, "VACUUM items")
        if work.operation == "get":
            return subject.run(work, threads, seconds)
        before = written(postgres, database)
        sample = subject.run(work, threads, seconds)
        if written(postgres, database) - before < sample.done:
            raise Failure(f"{subject.name} acknowledged writes it did not do")
        return sample

    def faster_threads(subject: Subject, work: Work) -> int:
        """How many threads of the load generator serve the subject better; also its warm-up."""
        candidates = (1, 2) if work.connections > 1 else (1,)
        rates: dict[int, list[float]] = {threads: [] for threads in candidates}
        for _ in range(min(plan.rounds, 3)):
            for threads in candidates:
                rates[threads].append(run(subject, work, threads, max(plan.seconds // 4, 1)).rate)
        return max(candidates, key=lambda threads: statistics.median(rates[threads]))

    chosen = [(work, subject, faster_threads(subject, work)) for work in works for subject in subjects]
    for number in range(1, plan.rounds + 1):
        for work, subject, threads in chosen:
            yield Round(number, work.name, subject.name, threads, run(subject, work, threads, plan.seconds))


def written(postgres: Postgres, database: str) -> int:
    """Every write of an item raises its version by one."""
    return int(postgres.sql(database, "SELECT sum(version) FROM items"))


def list_rounds(plan: Plan, only: Sequence[str], kvd: Service, pgbench: Pgbench) -> Iterator[Round]:
    """Lists of many items, over one connection: what counts is the latency."""
    paths = {}
    if "cursor" in only:
        last = f"/items/?page={DEEP_ITEMS // CURSOR_PAGE_SIZE - 1}&page_size={CURSOR_PAGE_SIZE}&count=none"
        _, before_last = kvd.get(last)
        for name, cursor in (("cursor-first", ""), ("cursor-last", before_last["next_cursor"])):
            paths[name] = f"/items/?cursor={cursor}&page_size={CURSOR_PAGE_SIZE}"
    if "page" in only:
        paths |= {"page-uncounted": f"{DEEP_PAGE}&count=none", "page-counted": DEEP_PAGE}
    for path in paths.values():
        _, page = kvd.get(path)
        if len(page["items"]) != (CURSOR_PAGE_SIZE if "cursor" in path else 10):
            raise Failure(f"{kvd.name} gave a wrong page for {path}")
        kvd.latency(path, 1)
    for number in range(1, plan.rounds + 1):
        for name, path in paths.items():
            yield Round(number, name, kvd.name, 1, kvd.latency(path, plan.seconds))
        if "page" in only:
            yield Round(number, "count", pgbench.name, 1, pgbench.count(plan.seconds))
