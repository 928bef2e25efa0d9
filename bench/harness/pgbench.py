"""The same statements straight to the database: what an HTTP service is measured against."""

import re
from pathlib import Path

from .postgres import Postgres
from .process import Command, Failure, output_of
from .work import FIRST_KEY, PGBENCH, Data, Sample, Work

SCRIPTS = Path(__file__).parent.parent / "pgbench"
COUNTED = re.compile(
    r"transactions actually processed: (?P<done>\d+)\n"
    r"number of failed transactions: 0 .*"
    r"initial connection time = (?P<connecting>[\d.]+) ms\n"
    r"tps = (?P<rate>[\d.]+) ",
    re.DOTALL,
)


class Pgbench:
    """`pgbench -M prepared` on a database."""

    name = PGBENCH

    def __init__(self, postgres: Postgres, data: Data, folder: Path) -> None:
        self.postgres = postgres
        self.data = data
        self.folder = folder

    def run(self, work: Work, threads: int, seconds: int) -> Sample:
        # A tenth of the transactions is timed: enough for a 99th percentile, and too few to cost anything.
        return self.script(work.operation, work.connections, threads, seconds, sampling_rate=0.1)

    def count(self, seconds: int) -> Sample:
        return self.script("count", 1, 1, seconds, sampling_rate=1)

    def processor_seconds(self) -> float:
        """It is no service: what it uses is not looked at."""
        return 0

    def script(self, name: str, connections: int, threads: int, seconds: int, sampling_rate: float) -> Sample:
        variables = {"first": FIRST_KEY, "last": FIRST_KEY + self.data.items - 1, "value": "v" * self.data.value_bytes}
        command: Command = [
            *(self.postgres.programs / "pgbench", "-n", "-M", "prepared", "-f", SCRIPTS / f"{name}.sql"),
            *("-c", str(connections), "-j", str(threads)),
            *("-l", f"--log-prefix={self.folder / 'pgbench_log'}", f"--sampling-rate={sampling_rate}"),
            *(argument for name, value in variables.items() for argument in ("-D", f"{name}={value}")),
            self.data.name,
        ]
        # The time to connect, about 5 ms each, is part of a run but not of its rate. A busy machine may need more.
        for connecting in (1 + connections // 50, 20, 60):
            text = output_of([*command, "-T", str(connecting + seconds)], env=self.postgres.env)
            latencies = sorted(self.sampled_microseconds())
            counted = COUNTED.search(text)
            if counted and latencies and float(counted["connecting"]) <= connecting * 1000:
                p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
                return Sample(int(counted["done"]), float(counted["rate"]), p50, p99)
        raise Failure(f"pgbench failed\n{text}")

    def sampled_microseconds(self) -> list[int]:
        """Reads and removes the logs, one for each thread; the third field of a line is the latency."""
        logs = list(self.folder.glob("pgbench_log.*"))
        latencies = [int(line.split()[2]) for log in logs for line in log.read_text().splitlines()]
        for log in logs:
            log.unlink()
        return latencies


def percentile(sorted_microseconds: list[int], percent: int) -> float:
    """In milliseconds."""
    return sorted_microseconds[len(sorted_microseconds) * percent // 100] / 1000
