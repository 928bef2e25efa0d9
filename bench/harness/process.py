"""Servers that do not outlive the benchmark, and programs that must succeed."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

Command = Sequence[str | Path]


class Failure(Exception):
    """Why there is nothing to report, in a line or two for the user."""


class Server:
    """A child in a session of its own, so that Ctrl-C reaches only the benchmark, which stops it in order."""

    def __init__(
        self,
        command: Command,
        log: Path,
        *,
        stop: signal.Signals = signal.SIGTERM,
        user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self.stop = stop
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | (env or {}),
                cwd=log.parent,
                user=user,
                group=user and primary_group(user),
                extra_groups=[] if user else None,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What it has started, too: an installer is a script.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, self.stop)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait_until(self, answers: Callable[[], bool], seconds: float = 30) -> None:
        """Polls every millisecond, which is also how exactly a start can be measured."""
        deadline = time.monotonic() + seconds
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")[-2000:]
                raise Failure(f"{self.name} does not answer\n{log}")
            time.sleep(0.001)

    def empty_log(self) -> None:
        """Keeps a log line for each request from filling the disk."""
        os.truncate(self.log, 0)

    def memory(self, field: str) -> int:
        """Bytes of the process alone: `VmRSS` is resident now, `VmHWM` was at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024

    def processor_seconds(self) -> float:
        """Of the process and of all that come from it."""
        return tree_processor_seconds(self.process.pid)


def tree_processor_seconds(pid: int) -> float:
    """What a process, its children and theirs have used of the processors; also those that have ended."""
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # After the name, which may have blanks: proc(5), fields 4 and 14 to 17.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                used[int(folder.name)] = sum(map(int, fields[11:15]))
                children.setdefault(int(fields[1]), []).append(int(folder.name))

    def ticks(process: int) -> int:
        return used.get(process, 0) + sum(map(ticks, children.get(process, [])))

    return ticks(pid) / os.sysconf("SC_CLK_TCK")


def unprivileged_user(name: str) -> str | None:
    """Database servers refuse to run as root."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return name if name in users else "nobody"


def primary_group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def output_of(command: Command, *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a program wrote to standard output; what it wrote to standard error says why it failed."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        cwd=cwd,
    )
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}".strip())
    return done.stdout
