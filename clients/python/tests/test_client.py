"""The two clients as such: making, closing, sharing; and the README."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import pickle
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from servers import ITEM, problem, run_kvd, serve

from kvd_client import AsyncClient, Client, Delete, Get, KvdError, OutcomeUnknown, Put

if TYPE_CHECKING:
    from conftest import Connect

ROOT = Path(__file__).parents[1]


def test_both_clients_have_the_same_calls() -> None:
    def calls(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")} - {"close", "aclose"}

    assert calls(Client) == calls(AsyncClient)
    for name in calls(Client):
        blocking, awaited = getattr(Client, name), getattr(AsyncClient, name)
        assert inspect.signature(blocking) == inspect.signature(awaited)
        assert inspect.getdoc(blocking)


@pytest.mark.parametrize("path", ["", "/", "/kv", "/kv/"])
def test_kvd_may_be_below_a_path(connect: Connect, path: str) -> None:
    with serve(ITEM) as server:
        connect(server.url + path).get("a/b")
        assert server.requests[0].target == f"{path.rstrip('/')}/items/a%2Fb"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "localhost", "ftp://localhost", "http://"])
def test_what_is_no_url_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="is no http:// or https:// URL"):
        connect(url)


def test_the_httpx_client_may_be_ones_own(connect: Connect) -> None:
    with serve(ITEM) as server:
        client = connect(server.url, auth=("user", "password"), headers={"X-Request-Id": "r-2"})
        client.put("k", "é", if_match="1-1")
        (request,) = server.requests
    assert request.headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
    assert request.headers["x-request-id"] == "r-2"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["if-match"] == '"1-1"'
    assert request.body == '{"value": "é"}'.encode()


def test_redirects_are_not_followed(connect: Connect) -> None:
    with serve(problem(307, "moved", Location="/items/k"), ITEM) as server:
        with pytest.raises(KvdError, match="307"):
            connect(server.url, follow_redirects=True).put("k", "v")
        assert len(server.requests) == 1


def test_a_client_closes_its_httpx_client_but_not_yours(kvd: str) -> None:
    with Client(kvd) as client:
        client.count()
    with pytest.raises(RuntimeError, match="closed"):
        client.count()
    with httpx.Client() as http:
        with Client(kvd, http=http) as client:
            client.count()
        assert not http.is_closed


def test_an_async_client_closes_its_httpx_client_but_not_yours(kvd: str) -> None:
    async def main() -> None:
        async with AsyncClient(kvd) as client:
            await client.count()
        with pytest.raises(RuntimeError, match="closed"):
            await client.count()
        async with httpx.AsyncClient() as http:
            async with AsyncClient(kvd, http=http) as client:
                await client.count()
            assert not http.is_closed

    asyncio.run(main())


def test_no_update_is_lost_among_tasks(kvd: str, key: str) -> None:
    async def main() -> None:
        async with AsyncClient(kvd) as client:
            await asyncio.gather(
                *(
                    client.update(key, lambda value: str(int(value) + 1), default="0")
                    for _ in range(10)
                )
            )
            assert [item.value async for item in client.items(key)] == ["10"]

    asyncio.run(main())


def test_a_task_can_be_cancelled_while_it_waits() -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url, deadline=7200) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.get("k"), 0.2)

    with serve(problem(429, "rate-limited", Retry_After="3600")) as server:
        asyncio.run(main(server.url))


def test_a_blocking_client_works_where_an_event_loop_runs(kvd: str, key: str) -> None:
    async def main() -> None:
        with Client(kvd) as client:
            client.create(key, "v")
            assert next(client.keys(key)) == key

    asyncio.run(main())


def test_pages_are_read_when_they_are_needed(kvd: str, key: str) -> None:
    requests: list[httpx.Request] = []
    hooks = {"request": [requests.append]}
    with httpx.Client(event_hooks=hooks) as http, Client(kvd, http=http) as client:
        for end in "abc":
            client.create(key + end, "")
        requests.clear()
        keys = client.keys(key, page_size=2)
        assert len(requests) == 0
        assert [next(keys), next(keys)] == [f"{key}a", f"{key}b"]
        assert len(requests) == 1
        assert list(keys) == [f"{key}c"]
        assert len(requests) == 2


def test_what_a_locked_database_did_not_do_is_sent_again(tmp_path: Path) -> None:
    sent: list[int] = []

    def unlock(response: httpx.Response) -> None:
        sent.append(len(json.loads(response.request.content)["operations"]))
        database.rollback()

    with (
        run_kvd(tmp_path, "--dev", "--rate-limit", "0", "--request-timeout", "1s") as url,
        contextlib.closing(sqlite3.connect(tmp_path / "kvd-dev.db")) as database,
        httpx.Client(event_hooks={"response": [unlock]}, timeout=10) as http,
        Client(url, http=http) as client,
    ):
        client.put_many({"a": "1", "b": "2"})
        database.execute("BEGIN IMMEDIATE")
        read, put, deleted = client.batch([Get("a"), Put("b", "3"), Delete("c")])
        assert (read.status, put.status, deleted.status) == (200, 200, 404)
        # The read was not locked out.
        assert sent == [2, 3, 2]
        database.execute("BEGIN IMMEDIATE")
        client.delete_many(["a", "b"])
        assert sent == [2, 3, 2, 2, 2]
        assert client.get_many(["a", "b"]) == {}


def test_errors_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(OutcomeUnknown("detail", code="outcome-unknown", status=504)))
    assert str(error) == "detail [504, outcome-unknown]"


def test_the_readme_works_when_pasted(own_kvd: str) -> None:
    readme = (ROOT / "README.md").read_text()
    lines = readme.split("```python\n")[1].split("```")[0]
    printed = re.findall("# → (.*)", lines)
    assert len(lines.splitlines()) <= 10
    assert "http://127.0.0.1:8000" in lines
    pasted = subprocess.run(
        [sys.executable, "-c", lines.replace("http://127.0.0.1:8000", own_kvd)],
        cwd=ROOT / "src",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (pasted.returncode, pasted.stderr) == (0, "")
    assert pasted.stdout.splitlines() == printed
    assert printed
