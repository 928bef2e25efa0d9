"""One request after another until it is served: the deadline, and what is sent again."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpx

from kvd_client import errors
from kvd_client.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kvd_client.errors import KvdError

T = TypeVar("T")


class Io(Protocol):
    """How a request is sent, and how time passes."""

    @property
    def timeout(self) -> httpx.Timeout:
        """How long each step of one attempt may take."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: httpx.Headers,
        content: bytes | None,
        timeout: httpx.Timeout,
    ) -> httpx.Response:
        """Sends one request and reads the whole answer, following no redirect."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class Calls:
    """Sends requests to a kvd."""

    def __init__(self, url: str, headers: httpx.Headers, deadline: float, io: Io) -> None:
        self._url = url
        self._headers = headers
        self._deadline = deadline
        self._io = io

    def until(self, deadline: float | None) -> float:
        """When a call that begins now has to end; without a deadline the client's counts."""
        return time.monotonic() + (self._deadline if deadline is None else deadline)

    async def send(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], T],
        until: float,
        *,
        write: bool,
        conditions: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> T:
        """Sends a request until it is served, as long as nothing was written before.

        `content` is the JSON of its body.
        """
        # Of this type, since its representation, which a debugger shows, hides the token.
        headers = httpx.Headers(self._headers)
        headers.update(conditions)
        if content is not None:
            headers["Content-Type"] = "application/json"
        waits = backoff()
        while True:
            timeout = _within(self._io.timeout, until)
            try:
                response = await self._io.request(
                    method, self._url + path, headers=headers, content=content, timeout=timeout
                )
            except RuntimeError:
                # The httpx client was closed, or is used wrongly.
                raise
            except Exception as failure:
                error = errors.from_failure(failure, write=write)
            else:
                if response.is_success:
                    with suppress(*errors.NOT_KVDS):
                        return read(response)
                error = errors.from_answer(response, write=write)
            if not isinstance(error, RateLimited | Unavailable):
                raise error
            seconds = next(waits) if error.retry_after is None else error.retry_after
            await self.wait(seconds, until, error)

    async def wait(self, seconds: float, until: float, error: KvdError) -> None:
        """Waits for the next attempt; raises `error` if the deadline leaves no time for one."""
        if time.monotonic() + seconds >= until:
            raise error
        await self._io.sleep(seconds)
        if time.monotonic() >= until:
            raise error


def backoff() -> Iterator[float]:
    """Seconds to wait where nobody says how many: random, so that clients do not come together."""
    most = 0.05
    while True:
        yield random.uniform(0, most)
        most = min(2 * most, 2.0)


def _within(timeout: httpx.Timeout, until: float) -> httpx.Timeout:
    """The timeout, cut to what is left until the deadline."""
    left = until - time.monotonic()
    if left <= 0:
        raise Unavailable("The deadline has passed: nothing was sent")
    # Longer than the system can wait: no limit.
    if left > threading.TIMEOUT_MAX:
        return timeout
    steps = timeout.as_dict().items()
    return httpx.Timeout(
        **{step: left if most is None else min(most, left) for step, most in steps}
    )
