"""Alternating rounds, so that whatever else the machine does hits everybody."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .database import Database
from .pgbench import Pgbench
from .process import Failure
from .work import DEEP_ITEMS, Sample, Subject, Work
from .wrk import Service

CURSOR_PAGE_SIZE = 100
DEEP_PAGE = "/items/?page=10000&page_size=10"
FIRST_PAGE = "/items"
LISTERS = 64
COUNT = "count"


@dataclass(frozen=True)
class Round:
    """One run of one subject. Of the processors it and its database used so many microseconds for each request."""

    number: int
    work: str
    subject: str
    threads: int
    sample: Sample
    subject_microseconds: float
    database_microseconds: float


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    # Whether short runs come first, which warm up and choose the threads of the load generators.
    warm_up: bool


class Rounds:
    """The rounds of works on one database."""

    def __init__(self, plan: Plan, database: Database, name: str) -> None:
        self.plan = plan
        self.database = database
        self.name = name

    def of_items(self, works: Sequence[Work], subjects: Sequence[Subject]) -> Iterator[Round]:
        """Every subject does every work that it takes part in, round after round."""
        pairs = [(work, subject) for work in works for subject in subjects if subject.name not in work.left_out]
        chosen = [(work, subject, self.faster_threads(subject, work)) for work, subject in pairs]
        for number in range(1, self.plan.rounds + 1):
            for work, subject, threads in chosen:

                def run(work: Work = work, subject: Subject = subject, threads: int = threads) -> Sample:
                    return self.run(subject, work, threads, self.plan.seconds)

                self.database.settle(self.name)
                yield self.measured(number, work.name, subject, threads, run)

    def run(self, subject: Subject, work: Work, threads: int, seconds: int) -> Sample:
        if work.operation == "get":
            return subject.run(work, threads, seconds)
        before = self.database.versions(self.name)
        sample = subject.run(work, threads, seconds)
        if self.database.versions(self.name) - before < sample.done:
            raise Failure(f"{subject.name} acknowledged writes it did not do")
        return sample

    def faster_threads(self, subject: Subject, work: Work) -> int:
        """How many threads of the load generator serve the subject better; also its warm-up."""
        if not self.plan.warm_up:
            return 2 if work.connections >= 64 else 1
        candidates = (1, 2) if work.connections > 1 else (1,)
        rates: dict[int, list[float]] = {threads: [] for threads in candidates}
        for _ in range(min(self.plan.rounds, 3)):
            for threads in candidates:
                self.database.settle(self.name)
                sample = self.run(subject, work, threads, max(self.plan.seconds // 4, 1))
                rates[threads].append(sample.rate)
        return max(candidates, key=lambda threads: statistics.median(rates[threads]))

    def measured(self, number: int, work: str, subject: Subject, threads: int, run: Callable[[], Sample]) -> Round:
        """A run, and what it used of the processors. Sums of the versions are part of it, of some milliseconds."""
        before = subject.processor_seconds(), self.database.processor_seconds()
        sample = run()
        after = subject.processor_seconds(), self.database.processor_seconds()
        if not sample.done:
            raise Failure(f"{subject.name} did nothing of {work} in time")
        used = [(end - begin) * 1_000_000 / sample.done for begin, end in zip(before, after, strict=True)]
        return Round(number, work, subject.name, threads, sample, *used)

    def of_lists(self, only: Sequence[str], kvd: Service, plain: Service | None, pgbench: Pgbench) -> Iterator[Round]:
        """Lists of many items: over one connection, where the latency counts, and many at once."""
        paths = one_by_one(only, kvd)
        listers = [service for service in (kvd, plain) if service] if "list" in only else []
        for lister in listers:
            _, page = lister.get(FIRST_PAGE)
            if page["total"] != DEEP_ITEMS or len(page["items"]) != 10:
                raise Failure(f"{lister.name} gave a wrong page: {page}")
        for number in range(1, self.plan.rounds + 1):
            for name, path in paths.items():
                yield self.repeated(number, name, kvd, path, 1)
            for lister in listers:
                yield self.repeated(number, f"list-{LISTERS}", lister, FIRST_PAGE, LISTERS)
            if "page" in only or listers:
                yield self.measured(number, COUNT, pgbench, 1, lambda: pgbench.count(self.plan.seconds))

    def repeated(self, number: int, name: str, service: Service, path: str, connections: int) -> Round:
        # Each of many lists with a total may wait for some seconds.
        seconds = self.plan.seconds if connections == 1 else max(self.plan.seconds, 10)

        def run() -> Sample:
            return service.repeat(path, connections, seconds)

        return self.measured(number, name, service, 1, run)


def one_by_one(only: Sequence[str], kvd: Service) -> dict[str, str]:
    """The lists that one connection asks for, by their names."""
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
        kvd.repeat(path, 1, 1)
    return paths
