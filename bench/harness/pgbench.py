"""The same statements straight to the database: what an HTTP service is measured against."""

import re
from pathlib import Path

from .postgres import Postgres
from .process import Command, Failure, output_of
from .work import FIRST_KEY, ITEMS, VALUE, Sample, Work

SCRIPTS = Path(__file__).parent.parent / "pgbench"


class Pgbench:
    """`pgbench -M prepared` on a database."""

    name = "pgbench"

    def __init__(self, postgres: Postgres, database: str, folder: Path) -> None:
        self.postgres = postgres
        self.database = database
        self.folder = folder

    def run(self, work: Work, threads: int, seconds: int) -> Sample:
        # A tenth of the transactions is timed: enough for a 99th percentile, and too few to cost anything.
        return self.script(work.operation, work.connections, threads, seconds, sampling_rate=0.1)

    def count(self, seconds: int) -> Sample:
        return self.script("count", 1, 1, seconds, sampling_rate=1)

    def script(self, name: str, connections: int, threads: int, seconds: int, sampling_rate: float) -> Sample:
        variables = {"first": FIRST_KEY, "last": FIRST_KEY + ITEMS - 1, "value": VALUE}
        # The time to connect, 5 to 20 ms each, is part of the run, though not of the rate.
        connecting = connections // 50
        command: Command = [
            *(self.postgres.programs / "pgbench", "-n", "-M", "prepared", "-f", SCRIPTS / f"{name}.sql"),
            *("-c", str(connections), "-j", str(threads), "-T", str(connecting + seconds)),
            *("-l", f"--log-prefix={self.folder / 'pgbench_log'}", f"--sampling-rate={sampling_rate}"),
            *(argument for name, value in variables.items() for argument in ("-D", f"{name}={value}")),
            self.database,
        ]
        text = output_of(command, env=self.postgres.env)
        done = re.search(r"^number of transactions actually processed: (\d+)", text, re.MULTILINE)
        rate = re.search(r"^tps = ([\d.]+) \(without initial connection time\)", text, re.MULTILINE)
        latencies = sorted(self.sampled_microseconds())
        if not done or not rate or not latencies or "number of failed transactions: 0 " not in text:
            raise Failure(f"pgbench failed\n{text}")
        return Sample(int(done[1]), float(rate[1]), percentile(latencies, 50), percentile(latencies, 99))

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
