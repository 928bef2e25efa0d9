"""The operations, written once; `client` runs them blocking and on asyncio."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote, urlencode

import httpx

from kvd_client import errors
from kvd_client.errors import (
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Unavailable,
)
from kvd_client.identity import Identity
from kvd_client.item import Item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from typing import Any

    from kvd_client.errors import KvdError

T = TypeVar("T")

# Characters of a key or a prefix in a URL. Those that kvd takes have at most 1536; URLs of more
# than 8000 need not be understood (RFC 9110, section 4.1), and httpx sends none above 65536.
_LONGEST_PART = 4_000

_ITEMS = "/items/"


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


class Operations:
    """What can be asked of a kvd.

    A `deadline` is how many seconds a call may take, with all its attempts and waits; without one
    the client's counts.
    """

    def __init__(self, url: str, headers: httpx.Headers, deadline: float, io: Io) -> None:
        self._url = url
        self._headers = headers
        self._deadline = deadline
        self._io = io

    async def create(self, key: str, value: str, *, deadline: float | None = None) -> Item:
        """Creates an item.

        Raises `KeyExists`.
        """
        body = {"key": _utf8("key", key), "value": _utf8("value", value)}
        return await self._call("POST", _ITEMS, _item, self._until(deadline), body=body)

    async def get(self, key: str, *, deadline: float | None = None) -> Item:
        """The item of a key.

        Raises `NotFound`.
        """
        return await self._get(key, self._until(deadline))

    async def put(
        self,
        key: str,
        value: str,
        *,
        upsert: bool = False,
        create_only: bool = False,
        if_match: str | None = None,
        deadline: float | None = None,
    ) -> Item:
        """Updates an item.

        With `upsert` it is created if there is none; with `create_only` it is only ever created.
        With `if_match`, the `etag` of an item, it is updated only if it is still in that state.

        Raises `NotFound`, or if such a condition does not hold `PreconditionFailed`.
        """
        conditions = _conditions(if_match=if_match, create_only=create_only)
        return await self._put(key, value, conditions, self._until(deadline), upsert=upsert)

    async def update(
        self,
        key: str,
        function: Callable[[str], str],
        *,
        default: str | None = None,
        deadline: float | None = None,
    ) -> Item:
        """Replaces the value by `function(value)`, starting again when somebody else was faster.

        With `default`, an item that does not exist is created with `function(default)`. The
        function may be called several times.

        Raises `NotFound`, and `PreconditionFailed` if somebody was faster until the deadline.
        """
        until = self._until(deadline)
        waits = _backoff()
        while True:
            try:
                item = await self._get(key, until)
            except NotFound:
                if default is None:
                    raise
                value, conditions = default, _conditions(create_only=True)
            else:
                value, conditions = item.value, _conditions(if_match=item.etag)
            try:
                return await self._put(key, function(value), conditions, until)
            except (PreconditionFailed, NotFound) as error:
                await self._wait(next(waits), until, error)

    async def delete(
        self, key: str, *, if_match: str | None = None, deadline: float | None = None
    ) -> None:
        """Deletes an item for ever; with `if_match` only if it is still in that state.

        Raises `NotFound`, or if the condition does not hold `PreconditionFailed`.
        """
        conditions = _conditions(if_match=if_match)
        until = self._until(deadline)
        await self._call("DELETE", _path(key), _nothing, until, conditions=conditions)

    def keys(
        self, prefix: str = "", *, page_size: int = 100, deadline: float | None = None
    ) -> AsyncIterator[str]:
        """The keys that begin with `prefix`, in the order of their bytes.

        They are read in pages of 1 to 100 as the loop goes on, each page within the deadline. No
        key is seen twice, and none is skipped that stays in place.
        """
        return self._walk(prefix, page_size, deadline, _key, keys_only=True)

    def items(
        self, prefix: str = "", *, page_size: int = 100, deadline: float | None = None
    ) -> AsyncIterator[Item]:
        """The items whose keys begin with `prefix`: as `keys`, with the values."""
        return self._walk(prefix, page_size, deadline, Item.from_json, keys_only=False)

    async def count(self, prefix: str = "", *, deadline: float | None = None) -> int:
        """The number of items whose keys begin with `prefix`."""
        query = _query(prefix, page_size=1, keys_only="true", count="exact")
        return await self._call("GET", query, _total, self._until(deadline))

    async def whoami(self, *, deadline: float | None = None) -> Identity:
        """The name, the rules and the end of the client's token.

        Where kvd asks for no token, it says that everything may be written.
        """
        return await self._call("GET", "/whoami", _identity, self._until(deadline))

    async def _get(self, key: str, until: float) -> Item:
        return await self._call("GET", _path(key), _item, until)

    async def _put(
        self,
        key: str,
        value: str,
        conditions: Mapping[str, str],
        until: float,
        *,
        upsert: bool = False,
    ) -> Item:
        path = _path(key) + ("?upsert=true" if upsert else "")
        body = {"value": _utf8("value", value)}
        return await self._call("PUT", path, _item, until, conditions=conditions, body=body)

    async def _walk(
        self,
        prefix: str,
        page_size: int,
        deadline: float | None,
        read: Callable[[Any], T],
        *,
        keys_only: bool,
    ) -> AsyncIterator[T]:
        def page(response: httpx.Response) -> tuple[list[T], str | None]:
            document = response.json()
            return [read(item) for item in document["items"]], document["next_cursor"]

        only = "true" if keys_only else "false"
        cursor: str | None = ""
        while cursor is not None:
            query = _query(prefix, page_size=page_size, keys_only=only, cursor=cursor)
            found, cursor = await self._call("GET", query, page, self._until(deadline))
            for each in found:
                yield each

    async def _call(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], T],
        until: float,
        *,
        conditions: Mapping[str, str] | None = None,
        body: Mapping[str, str] | None = None,
    ) -> T:
        """Sends a request until it is served, as long as nothing was written before."""
        write = method != "GET"
        # Of this type, since its representation, which a debugger shows, hides the token.
        headers, content = httpx.Headers(self._headers), None
        headers.update(conditions)
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body, ensure_ascii=False).encode()
        waits = _backoff()
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
            await self._wait(seconds, until, error)

    async def _wait(self, seconds: float, until: float, error: KvdError) -> None:
        """Waits for the next attempt; raises `error` if the deadline leaves no time for one."""
        if time.monotonic() + seconds >= until:
            raise error
        await self._io.sleep(seconds)
        if time.monotonic() >= until:
            raise error

    def _until(self, deadline: float | None) -> float:
        return time.monotonic() + (self._deadline if deadline is None else deadline)


def _backoff() -> Iterator[float]:
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


def kvd_url(base_url: str) -> str:
    """The URL of a kvd, before the paths; raises `InvalidRequest` if it is none."""
    try:
        url = httpx.URL(base_url)
        # What the system's resolver does, too late, with a label of more than 63 characters.
        url.host.encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise _no_base(str(error)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _no_base("scheme and host are needed")
    if url.port is not None and not 0 < url.port <= 65_535:
        raise _no_base(f"{url.port} is no port")
    if url.query or url.fragment or base_url.endswith(("?", "#")):
        raise _no_base("a query or a fragment cannot stand before the path of an item")
    return base_url.rstrip("/")


def _no_base(why: str) -> InvalidRequest:
    # Without the URL itself, which may hold a password.
    detail = f"The base URL is no http:// or https:// URL of a kvd: {why}"
    return InvalidRequest(detail, code="invalid-request")


def authorization(
    token: str | None, url: str, http: httpx.Client | httpx.AsyncClient | None
) -> httpx.Headers:
    """The headers that carry the token; raises `InvalidRequest` if none can."""
    if token is None:
        return httpx.Headers()
    # Neither message has the token, the password or the header, which are secrets.
    if not re.fullmatch("[!-~]+", token):
        detail = "The token is empty, or has a space, a line break or another character of no token"
        raise InvalidRequest(detail, code="invalid-request")
    if httpx.URL(url).userinfo:
        raise _second_authorization("the user of the base URL")
    if http is not None and (http.auth is not None or "Authorization" in http.headers):
        raise _second_authorization("the auth or the Authorization header of the httpx client")
    return httpx.Headers({"Authorization": f"Bearer {token}"})


def _second_authorization(other: str) -> InvalidRequest:
    detail = f"A token and {other} cannot both be sent: a request has one Authorization header"
    return InvalidRequest(detail, code="invalid-request")


def _path(key: str) -> str:
    """The path of the item of a key, which is one segment of it."""
    # Percent-encoded or not, these would be another path than that of an item.
    if key in ("", ".", ".."):
        raise InvalidRequest(f"{key!r} is no key", code="invalid-key")
    return _ITEMS + _encoded("key", key)


def _query(prefix: str, **parameters: str | int) -> str:
    others = urlencode(parameters, quote_via=quote)
    return f"{_ITEMS}?prefix={_encoded('prefix', prefix)}&{others}"


def _encoded(name: str, text: str) -> str:
    """The text for a URL. What kvd can be asked it judges itself."""
    encoded = quote(_utf8(name, text), safe="")
    if len(encoded) > _LONGEST_PART:
        detail = f"The {name} is too long: 512 bytes are the most"
        raise InvalidRequest(detail, code=_code(name))
    return encoded


def _utf8(name: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        detail = f"The {name} has a surrogate at {error.start}: it is no UTF-8"
        raise InvalidRequest(detail, code=_code(name)) from error
    return text


def _code(name: str) -> str:
    return "invalid-request" if name == "prefix" else f"invalid-{name}"


def _conditions(*, if_match: str | None = None, create_only: bool = False) -> dict[str, str]:
    headers = {}
    if if_match is not None:
        if not re.fullmatch("[!#-~]*", if_match):
            raise InvalidRequest(f"{if_match!r} is no etag", code="invalid-request")
        headers["If-Match"] = f'"{if_match}"'
    if create_only:
        headers["If-None-Match"] = "*"
    return headers


# How an answer is read. One of `errors.NOT_KVDS` says that it is not kvd's.


def _item(response: httpx.Response) -> Item:
    return Item.from_json(response.json())


def _identity(response: httpx.Response) -> Identity:
    return Identity.from_json(response.json())


def _key(document: Any) -> str:
    return str(document["key"])


def _total(response: httpx.Response) -> int:
    return int(response.json()["total"])


def _nothing(response: httpx.Response) -> None:
    if response.status_code != 204:
        raise ValueError
