"""From raw rounds to tables in Markdown."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .kvd import Footprint
from .rounds import COUNT, LISTERS, Plan, Round
from .work import BATCH, BATCH_GOALS, BATCH_SINGLE_GOAL, PGBENCH, PLAIN, Sample, Work

MIB = 2**20
LIST = f"list-{LISTERS}"


@dataclass(frozen=True)
class Results:
    """All there is to report."""

    machine: dict[str, str]
    plan: Plan
    rounds: list[Round]
    footprint: Footprint | None
    peak_bytes: int

    def subjects(self, work: str) -> list[str]:
        return list(dict.fromkeys(round.subject for round in self.rounds if round.work == work))

    def values(self, work: str, subject: str, of: Callable[[Sample], float]) -> list[float]:
        return [of(round.sample) for round in self.rounds if (round.work, round.subject) == (work, subject)]

    def median(self, work: str, subject: str, of: Callable[[Sample], float]) -> float:
        return statistics.median(self.values(work, subject, of))

    def used(self, work: str, subject: str) -> list[str]:
        """Microseconds of the processors for a request: the subject's own, its database's."""
        rounds = [round for round in self.rounds if (round.work, round.subject) == (work, subject)]
        own = statistics.median(round.subject_microseconds for round in rounds)
        database = statistics.median(round.database_microseconds for round in rounds)
        return [f"{microseconds:.0f}" if microseconds else "" for microseconds in (own, database)]


def markdown(results: Results, works: Sequence[Work]) -> str:
    names = {round.work for round in results.rounds}
    parts = [
        f"Medians. Rounds: {results.plan.rounds}, of {results.plan.seconds} s each.",
        table(["", ""], [list(row) for row in results.machine.items()]),
    ]
    if works:
        parts += ["## Rates", rate_table(results, works), "## Latencies", latency_table(results, works)]
    batches = [work for work in works if work.batch > 1]
    if batches:
        parts += [f"## Batches of {BATCH} operations", batch_table(results, batches)]
    if names & {"cursor-first", "page-counted", LIST}:
        parts += ["## Lists of 1 000 000 items", list_table(results, names)]
    if results.footprint:
        parts += ["## Footprint", footprint_table(results, results.footprint)]
    return "\n\n".join(parts) + "\n"


def rate_table(results: Results, works: Sequence[Work]) -> str:
    """Requests and transactions in a second, processor time for each of them, and ratios; in brackets the lowest and
    highest of one round."""
    rows = []
    for work in works:
        for subject in results.subjects(work.name):
            row = [work.name, subject, number(results.median(work.name, subject, rate))]
            row += [str(threads(results, work.name, subject)), *results.used(work.name, subject)]
            if subject == "kvd":
                row += ["", ""]
            else:
                ratio = results.median(work.name, "kvd", rate) / results.median(work.name, subject, rate)
                goal = at_least(ratio, work.goals.get(subject))
                row += [f"{ratio:.2f} ({spread(results, work.name, subject)})", goal]
            rows.append(row)
    return table(["work", "subject", "a second", "threads", "own µs", "database µs", "kvd is × as fast", "goal"], rows)


def spread(results: Results, work: str, subject: str) -> str:
    pairs = zip(results.values(work, "kvd", rate), results.values(work, subject, rate), strict=True)
    ratios = sorted(kvd / other for kvd, other in pairs)
    return f"{ratios[0]:.2f}–{ratios[-1]:.2f}"


def threads(results: Results, work: str, subject: str) -> int:
    return next(round.threads for round in results.rounds if (round.work, round.subject) == (work, subject))


def batch_table(results: Results, works: Sequence[Work]) -> str:
    """Items in a second, and how many times as many as in single requests over 64 connections."""
    rows = []
    for work in works:
        batched = results.median(work.name, "kvd", rate)
        goal = BATCH_GOALS[work.operation] if work.engine == "postgres" else None
        rows.append([work.name, f"{number(batched)} items a second", at_least(batched, goal, "a second")])
        single = Work(work.operation, 64, work.engine).name
        if results.subjects(single):
            ratio = batched / results.median(single, "kvd", rate)
            goal = BATCH_SINGLE_GOAL if (work.engine, work.operation) == ("postgres", "put") else None
            rows.append([f"… against {single}", f"{ratio:.2f} ×", at_least(ratio, goal)])
    return table(["work", "kvd", "goal"], rows)


def latency_table(results: Results, works: Sequence[Work]) -> str:
    rows = [
        [work.name, subject]
        + [f"{results.median(work.name, subject, of):.2f} ms" for of in (median_latency, high_latency)]
        for work in works
        for subject in results.subjects(work.name)
    ]
    return table(["work", "subject", "p50", "p99"], rows)


def list_table(results: Results, names: set[str]) -> str:
    def latency(work: str, subject: str = "kvd") -> float:
        return results.median(work, subject, median_latency)

    rows = []
    if "cursor-first" in names:
        first, last = latency("cursor-first"), latency("cursor-last")
        rows += [
            ["cursor page of 100, first", f"{first:.2f} ms", ""],
            ["cursor page of 100, last", f"{last:.2f} ms", ""],
            ["last against first", f"{last / first:.2f} ×", at_most(last / first, 1.2, "×")],
        ]
    if "page-counted" in names:
        uncounted, counted, count = latency("page-uncounted"), latency("page-counted"), latency(COUNT, PGBENCH)
        rows += [
            ["page 10 000 of 10, `count=none`", f"{uncounted:.2f} ms", ""],
            ["page 10 000 of 10, with the count", f"{counted:.2f} ms", ""],
            ["page 10 000 beside the count", f"{counted - count:.2f} ms", at_most(counted - count, 25, "ms")],
        ]
    if LIST in names:
        for subject in results.subjects(LIST):
            listed = results.median(LIST, subject, rate)
            rows.append([f"first page with its total, {LISTERS} at once, {subject}", f"{listed:.1f} a second", ""])
        latest = results.median(LIST, "kvd", high_latency)
        if PLAIN in results.subjects(LIST):
            ratio = results.median(LIST, "kvd", rate) / results.median(LIST, PLAIN, rate)
            rows.append(["… kvd is × as fast", f"{ratio:.1f}", at_least(ratio, 15)])
        rows.append(["… its p99", f"{latest:.1f} ms", at_most(latest, 3 * latency(COUNT, PGBENCH), "ms")])
    if COUNT in names:
        rows.append(["`SELECT count(*)` by pgbench", f"{latency(COUNT, PGBENCH):.2f} ms", ""])
    return table(["work", "p50 unless said", "goal"], rows)


def footprint_table(results: Results, footprint: Footprint) -> str:
    start, idle, binary = footprint.start_milliseconds, footprint.idle_bytes / MIB, footprint.binary_bytes / MIB
    peak = results.peak_bytes / MIB
    rows = [
        ["start to first answer", f"{start:.0f} ms", at_most(start, 150, "ms")],
        ["resident memory, idle", f"{idle:.1f} MiB", at_most(idle, 20, "MiB")],
        ["resident memory, highest in all rounds", f"{peak:.1f} MiB", at_most(peak, 64, "MiB")],
        ["binary", f"{binary:.1f} MiB", at_most(binary, 25, "MiB")],
    ]
    return table(["what", "kvd", "goal"], rows)


def rate(sample: Sample) -> float:
    return sample.rate


def median_latency(sample: Sample) -> float:
    return sample.p50


def high_latency(sample: Sample) -> float:
    return sample.p99


def at_least(value: float, goal: float | None, unit: str = "×") -> str:
    return "" if goal is None else f"{goal:g} {unit} or more: {'met' if value >= goal else 'not met'}"


def at_most(value: float, goal: float, unit: str) -> str:
    return f"{goal:.3g} {unit} at most: {'met' if value <= goal else 'not met'}"


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Padded, so that it reads as well in a terminal."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
