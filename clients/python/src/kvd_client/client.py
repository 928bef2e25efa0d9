"""The two clients: the same operations, blocking and on asyncio."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import httpx

from kvd_client.address import authorization, kvd_url
from kvd_client.calls import Calls
from kvd_client.errors import KvdError
from kvd_client.operations import Operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import Any

    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", httpx.Client, httpx.AsyncClient)

# Seconds. An attempt may take longer than kvd's REQUEST_TIMEOUT, when it answers 504.
DEADLINE = 30.0
ATTEMPT = 10.0


class _BlockingIo:
    """Never suspends, so that `_run` needs no event loop."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    @property
    def timeout(self) -> httpx.Timeout:
        return self.http.timeout

    async def request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        return self.http.request(method, url, follow_redirects=False, **arguments)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _AsyncIo:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @property
    def timeout(self) -> httpx.Timeout:
        return self.http.timeout

    async def request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        return await self.http.request(method, url, follow_redirects=False, **arguments)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _own(client: type[H]) -> H:
    """A client of httpx. It takes proxies and certificates from the environment."""
    try:
        return client(timeout=ATTEMPT)
    except Exception as error:
        raise KvdError(f"httpx refuses what the environment says: {error}") from error


def _run(awaitable: Awaitable[T]) -> T:
    """The result of what never suspends."""
    try:
        next(awaitable.__await__())
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("an operation of a blocking client has suspended")


def _blocking(
    operation: Callable[Concatenate[Operations, P], Awaitable[T]],
) -> Callable[Concatenate[Client, P], T]:
    @functools.wraps(operation)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return _run(operation(self._operations, *args, **kwargs))

    return call


def _iterating(
    operation: Callable[Concatenate[Operations, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @functools.wraps(operation)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        found = operation(self._operations, *args, **kwargs)
        while True:
            try:
                each = _run(anext(found))
            except StopAsyncIteration:
                return
            yield each

    return call


class Client:
    """A client of kvd that blocks; threads may share it.

    `token` is sent with every request, to a kvd that asks for one. `deadline` is how many seconds a
    call may take, with all its attempts and waits, if the call does not say. `http` sends the
    requests, with its TLS, proxies, headers and timeout (for each step of one attempt); it is not
    closed with the client.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        deadline: float = DEADLINE,
        http: httpx.Client | None = None,
    ) -> None:
        url = kvd_url(base_url)
        headers = authorization(token, url, http)
        self._http = http or _own(httpx.Client)
        self._close_http = http is None
        self._operations = Operations(Calls(url, headers, deadline, _BlockingIo(self._http)))

    create = _blocking(Operations.create)
    get = _blocking(Operations.get)
    put = _blocking(Operations.put)
    update = _blocking(Operations.update)
    delete = _blocking(Operations.delete)
    keys = _iterating(Operations.keys)
    items = _iterating(Operations.items)
    count = _blocking(Operations.count)
    batch = _blocking(Operations.batch)
    get_many = _blocking(Operations.get_many)
    put_many = _blocking(Operations.put_many)
    delete_many = _blocking(Operations.delete_many)
    whoami = _blocking(Operations.whoami)

    def close(self) -> None:
        """Closes the connections."""
        if self._close_http:
            self._http.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self.close()


class AsyncClient(Operations):
    """A client of kvd for asyncio; tasks of one event loop may share it.

    `token`, `deadline` and `http` are those of `Client`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        deadline: float = DEADLINE,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        url = kvd_url(base_url)
        headers = authorization(token, url, http)
        self._http = http or _own(httpx.AsyncClient)
        self._close_http = http is None
        super().__init__(Calls(url, headers, deadline, _AsyncIo(self._http)))

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._close_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connections."""
        await self.aclose()
