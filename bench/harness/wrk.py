"""Services that speak the API, and the load that wrk puts on them."""

import json
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from .process import Failure, Server, output_of
from .work import FIRST_KEY, Data, Sample, Work

SCRIPTS = Path(__file__).parent.parent / "wrk"


class Service:
    """A server on a port of the loopback interface."""

    def __init__(self, name: str, server: Server, port: int, data: Data) -> None:
        self.name = name
        self.server = server
        self.data = data
        self.port = port

    def run(self, work: Work, threads: int, seconds: int) -> Sample:
        keys = [str(FIRST_KEY), str(self.data.items)]
        value = [str(self.data.value_bytes)] if work.operation == "put" else []
        if work.batch == 1:
            arguments = [work.operation.upper(), *keys, *value]
            return self.load("items.lua", "/", arguments, work.connections, threads, seconds)
        arguments = [work.operation, *keys, str(work.batch), *value]
        return self.load("batches.lua", "/", arguments, work.connections, threads, seconds, work.batch)

    def repeat(self, path: str, connections: int, seconds: int) -> Sample:
        """One path over and over."""
        return self.load("report.lua", path, [], connections, 1, seconds)

    def processor_seconds(self) -> float:
        return self.server.processor_seconds()

    def load(
        self, script: str, path: str, arguments: list[str], connections: int, threads: int, seconds: int, items: int = 1
    ) -> Sample:
        """What is counted are items, of which each answer has so many."""
        url = f"http://127.0.0.1:{self.port}{path}"
        wrk = ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "-s", script]
        # A slow answer is a latency; one that never comes is an error.
        wrk += ["--timeout", "10s", url, "--"]
        text = output_of(wrk + arguments, cwd=SCRIPTS)
        self.server.empty_log()
        counted = json.loads(text.splitlines()[-1])
        # wrk counts a status above 399. Anything else that is no item is far smaller than one.
        errors = sum(counted[kind] for kind in ("status", "connect", "read", "write", "timeout"))
        done = counted["requests"] * items
        if errors or counted["bytes"] < done * self.data.value_bytes:
            raise Failure(f"{self.name} gave wrong answers\n{text}")
        rate = done / counted["microseconds"] * 1_000_000
        return Sample(done, rate, counted["p50"] / 1000, counted["p99"] / 1000)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.load(response)
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether it serves the items."""
        try:
            status, _ = self.get(f"/items/{FIRST_KEY}")
        except (OSError, HTTPException, ValueError):
            return False
        return status == 200

    def check(self) -> None:
        """An item has to look like one before it is worth being fast."""
        _, item = self.get(f"/items/{FIRST_KEY}")
        key, value, version = item["key"], item["value"], item["version"]
        if key != str(FIRST_KEY) or len(value) != self.data.value_bytes or version < 1:
            raise Failure(f"{self.name} gave a wrong item: {item}")
