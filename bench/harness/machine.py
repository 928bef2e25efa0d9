"""What it was measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from .kvd import ROOT
from .process import Failure, output_of


def describe(kvd: Path, built: bool, folder: Path) -> dict[str, str]:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{len(os.sched_getaffinity(0))} × {cpu.partition(': ')[2]}",
        "memory": f"{memory:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"{platform.system()} {platform.release()}, {filesystem(folder)}",
        "wrk": wrk_version(),
        "kvd": output_of([kvd, "--version"]).strip() + (revision() if built else ""),
    }


def filesystem(folder: Path) -> str:
    """Refuses one that keeps files in memory: a durable write to it costs nothing."""
    kind = output_of(["stat", "-f", "-c", "%T", folder]).strip()
    if kind in ("tmpfs", "ramfs"):
        raise Failure(f"{folder} is in memory: name a folder on a disk with --directory")
    return kind


def wrk_version() -> str:
    """It prints its version beside its usage, and fails."""
    text = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout
    return text.split("[")[0].removeprefix("wrk").strip()


def revision() -> str:
    """Of the working tree, if it is one of git's."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return f" ({git.stdout.strip()})" if git.returncode == 0 else ""
