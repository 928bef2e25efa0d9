"""A real kvd, and a server that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KVD_BIN = Path(os.environ.get("KVD_BIN") or Path(__file__).parents[3] / "target/debug/kvd")
KVCTL_BIN = KVD_BIN.with_name("kvctl")


@contextlib.contextmanager
def run_kvd(directory: Path, *arguments: str) -> Iterator[str]:
    """Runs kvd in a directory, on a free port; gives its URL."""
    assert KVD_BIN.exists(), f"there is no {KVD_BIN}: run cargo build, or set KVD_BIN"
    command = [str(KVD_BIN.absolute()), "--listen", "127.0.0.1:0", *arguments]
    with (
        (directory / "kvd.log").open("w+") as log,
        # Without the environment's settings.
        subprocess.Popen(
            command, cwd=directory, env={}, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout
        try:
            first = process.stdout.readline()
            assert first.startswith("listening on "), (directory / "kvd.log").read_text()
            yield first.removeprefix("listening on ").strip()
        finally:
            process.kill()


@dataclass(frozen=True)
class GuardedKvd:
    """A kvd that asks for tokens."""

    url: str
    directory: Path

    def create_token(self, name: str, *arguments: str) -> str:
        """Makes a token; the arguments are its rules and its end."""
        assert KVCTL_BIN.exists(), f"there is no {KVCTL_BIN}: run cargo build"
        database = ["--database-url", "sqlite://kvd-dev.db"]
        command = [str(KVCTL_BIN.absolute()), *database, "token", "create", name, *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env={}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextlib.contextmanager
def run_guarded_kvd(directory: Path, *arguments: str) -> Iterator[GuardedKvd]:
    """Runs a kvd that asks for tokens, without a limit of requests."""
    guarded = ("--dev", "--auth", "tokens", "--rate-limit", "0")
    with run_kvd(directory, *guarded, *arguments) as url:
        yield GuardedKvd(url, directory)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Cut(bytes):
    """Part of an answer, after which the connection is cut."""


class FakeServer(socketserver.ThreadingTCPServer):
    """Gives its answers in turn, one for each request, and cuts the connections that want more."""

    daemon_threads = True
    # Waiting for its threads would be waiting for clients that keep connections open.
    block_on_close = False

    allow_reuse_address = True

    def __init__(self, answers: Iterable[bytes | None], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers = deque(answers)
        self.requests: list[Request] = []
        self.silence = threading.Event()

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]


class _Connection(socketserver.StreamRequestHandler):
    server: FakeServer

    def handle(self) -> None:
        while line := self.rfile.readline().decode():
            method, target, _ = line.split()
            headers = {}
            while line := self.rfile.readline().decode().strip():
                name, value = line.split(": ", 1)
                headers[name.lower()] = value
            body = self.rfile.read(int(headers.get("content-length", 0)))
            self.server.requests.append(Request(method, target, headers, body))
            answer = self.server.answers.popleft() if self.server.answers else Cut()
            if answer is None:
                self.server.silence.wait()
                return
            self.wfile.write(answer)
            if isinstance(answer, Cut):
                return


@contextlib.contextmanager
def serve(*answers: bytes | None, port: int = 0) -> Iterator[FakeServer]:
    """Serves these answers; `None` is silence, until the end."""
    with FakeServer(answers, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.silence.set()
            server.shutdown()
            thread.join()


def answer(
    status: int, body: str = "", media_type: str = "application/json", **headers: str
) -> bytes:
    """An answer; in the names of headers `_` stands for `-`."""
    content = body.encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(content)}",
        f"Content-Type: {media_type}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def problem(status: int, code: str, members: dict[str, Any] | None = None, **headers: str) -> bytes:
    """A problem document of kvd, with further members."""
    document = {"type": "about:blank", "title": "T", "status": status, "detail": "D", "code": code}
    body = json.dumps(document | (members or {}))
    return answer(status, body, "application/problem+json", X_Request_Id="r-1", **headers)


def page(status: int, **headers: str) -> bytes:
    """The error page of a proxy."""
    return answer(status, f"<h1>{status}</h1>", "text/html", **headers)


def results(*each: dict[str, Any]) -> bytes:
    """The answer to a batch."""
    status = 200 if all(result["status"] < 400 for result in each) else 207
    return answer(status, json.dumps({"results": each}))


def document(
    key: str = "k", value: str = "v", version: int = 1, expires_at: str | None = None
) -> dict[str, Any]:
    time = "2026-01-31T09:30:00.123456Z"
    return {
        "key": key,
        "value": value,
        "version": version,
        "etag": f"1-{version}",
        "created_at": time,
        "updated_at": time,
        "expires_at": expires_at,
    }


ITEM = answer(200, json.dumps(document()))
