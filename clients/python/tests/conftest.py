"""Every test that takes `connect` runs twice: with `Client`, and with `AsyncClient`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import uuid
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import httpx
import pytest
from servers import run_kvd

from kvd_client import AsyncClient, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from pathlib import Path

T = TypeVar("T")


class Connect(Protocol):
    """Makes a client; with `http`, on an httpx client with these arguments."""

    def __call__(
        self, url: str, *, token: str | None = None, deadline: float = 10.0, **http: Any
    ) -> Client: ...


class Run(Protocol):
    """Runs on an event loop, which is another thread's, and waits for the result."""

    def __call__(self, awaitable: Awaitable[T]) -> T: ...


class _Awaited:
    """An `AsyncClient` that can be used like a `Client`, also by several threads."""

    def __init__(self, client: AsyncClient, run: Run) -> None:
        self._client = client
        self._run = run

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = getattr(self._client, name)(*args, **kwargs)
            return self._run(result) if inspect.isawaitable(result) else self._iterate(result)

        return call

    def _iterate(self, found: AsyncIterator[Any]) -> Iterator[Any]:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self._run(anext(found))


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), loop).result()

    yield run
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(params=[Client, AsyncClient])
def connect(request: pytest.FixtureRequest, run: Run) -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def blocking(
            url: str, *, token: str | None = None, deadline: float = 10.0, **http: Any
        ) -> Client:
            own = httpx.Client(**http) if http else None
            client = Client(url, token=token, deadline=deadline, http=own)
            stack.callback(client._http.close)
            return client

        def awaited(
            url: str, *, token: str | None = None, deadline: float = 10.0, **http: Any
        ) -> Client:
            own = httpx.AsyncClient(**http) if http else None
            client = AsyncClient(url, token=token, deadline=deadline, http=own)
            stack.callback(lambda: run(client._http.aclose()))
            return cast("Client", _Awaited(client, run))

        yield blocking if request.param is Client else awaited


@pytest.fixture(autouse=True, scope="session")
def no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def kvd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a kvd for all tests, without a limit of requests."""
    with run_kvd(tmp_path_factory.mktemp("kvd"), "--dev", "--rate-limit", "0") as url:
        yield url


@pytest.fixture
def own_kvd(tmp_path: Path) -> Iterator[str]:
    """The URL of a kvd for this test, without a limit of requests."""
    with run_kvd(tmp_path, "--dev", "--rate-limit", "0") as url:
        yield url


@pytest.fixture
def client(connect: Connect, kvd: str) -> Client:
    return connect(kvd)


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"key {uuid.uuid4()}/"
