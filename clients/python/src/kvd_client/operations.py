"""The operations, written once; `client` runs them blocking and on asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from kvd_client.batch import Delete, Get, Put, encode
from kvd_client.bulk import send_all, send_batch, send_each
from kvd_client.calls import backoff
from kvd_client.errors import NotFound, PreconditionFailed
from kvd_client.identity import Identity
from kvd_client.item import Item
from kvd_client.wire import ITEMS, conditions, expiry, path, query, several, to_json, utf8

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from datetime import datetime
    from typing import Any

    import httpx

    from kvd_client.batch import Operation
    from kvd_client.calls import Calls
    from kvd_client.result import Result
    from kvd_client.wire import Ttl

T = TypeVar("T")


class Operations:
    """What can be asked of a kvd.

    A `deadline` is how many seconds a call may take, with all its attempts and waits; without one
    the client's counts.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self,
        key: str,
        value: str,
        *,
        ttl: Ttl | None = None,
        expires_at: datetime | None = None,
        deadline: float | None = None,
    ) -> Item:
        """Creates an item, which expires after `ttl` or at `expires_at`; without them never.

        Raises `KeyExists`.
        """
        until = self._calls.until(deadline)
        body = {"key": utf8("key", key), "value": utf8("value", value), **expiry(ttl, expires_at)}
        content = to_json(body)
        return await self._calls.send("POST", ITEMS, _item, until, write=True, content=content)

    async def get(self, key: str, *, deadline: float | None = None) -> Item:
        """The item of a key.

        Raises `NotFound`.
        """
        return await self._get(key, self._calls.until(deadline))

    async def put(
        self,
        key: str,
        value: str,
        *,
        upsert: bool = False,
        create_only: bool = False,
        if_match: str | None = None,
        ttl: Ttl | None = None,
        expires_at: datetime | None = None,
        keep_ttl: bool = False,
        deadline: float | None = None,
    ) -> Item:
        """Updates an item.

        With `upsert` it is created if there is none; with `create_only` it is only ever created.
        With `if_match`, the `etag` of an item, it is updated only if it is still in that state.
        It then expires after `ttl`, at `expires_at`, with `keep_ttl` when it did before, and
        without any of them never.

        Raises `NotFound`, or if such a condition does not hold `PreconditionFailed`.
        """
        until = self._calls.until(deadline)
        met = conditions(if_match=if_match, create_only=create_only)
        body = {"value": utf8("value", value), **expiry(ttl, expires_at)}
        return await self._put(key, body, met, until, upsert=upsert, keep_ttl=keep_ttl)

    async def update(
        self,
        key: str,
        function: Callable[[str], str],
        *,
        default: str | None = None,
        deadline: float | None = None,
    ) -> Item:
        """Replaces the value by `function(value)`, starting again when somebody else was faster.

        The item still expires when it did before. With `default`, an item that does not exist is
        created with `function(default)`. The function may be called several times.

        Raises `NotFound`, and `PreconditionFailed` if somebody was faster until the deadline.
        """
        until = self._calls.until(deadline)
        waits = backoff()
        while True:
            try:
                item = await self._get(key, until)
            except NotFound:
                if default is None:
                    raise
                value, met, expires = default, conditions(create_only=True), False
            else:
                value, met = item.value, conditions(if_match=item.etag)
                expires = item.expires_at is not None
            body = {"value": utf8("value", function(value))}
            try:
                # Not asked for without need, since a kvd before 0.2 does not know it.
                return await self._put(key, body, met, until, keep_ttl=expires)
            except (PreconditionFailed, NotFound) as error:
                await self._calls.wait(next(waits), until, error)

    async def delete(
        self, key: str, *, if_match: str | None = None, deadline: float | None = None
    ) -> None:
        """Deletes an item for ever; with `if_match` only if it is still in that state.

        Raises `NotFound`, or if the condition does not hold `PreconditionFailed`.
        """
        until = self._calls.until(deadline)
        met = conditions(if_match=if_match)
        await self._calls.send("DELETE", path(key), _nothing, until, write=True, conditions=met)

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
        page = query(prefix, page_size=1, keys_only="true", count="exact")
        return await self._read(page, _total, self._calls.until(deadline))

    async def whoami(self, *, deadline: float | None = None) -> Identity:
        """The name, the rules and the end of the client's token.

        Where kvd asks for no token, it says that everything may be written.
        """
        return await self._read("/whoami", _identity, self._calls.until(deadline))

    async def batch(
        self,
        operations: Iterable[Operation],
        *,
        atomic: bool = False,
        deadline: float | None = None,
    ) -> list[Result]:
        """The results of 1 to 100 operations, each of another key, in the order given.

        Each succeeds or fails for itself; those that kvd could not serve are sent again until the
        deadline. With `atomic` all are done, or none.

        Raises `InvalidRequest` or `ValueTooLarge`, with the `index` of an operation that breaks a
        rule, and then does nothing; and if one of an atomic batch did not succeed `BatchFailed`.
        """
        until = self._calls.until(deadline)
        encoded = encode(operations)
        if atomic:
            return await send_batch(self._calls, encoded, until, atomic=True)
        return await send_each(self._calls, encoded, until)

    async def get_many(
        self, keys: Iterable[str], *, deadline: float | None = None
    ) -> dict[str, Item]:
        """The items of those of the keys that there are, in the order given.

        They are read in as many batches as it takes, at different moments.
        """
        return await self._all(map(Get, several(keys)), deadline)

    async def put_many(
        self,
        items: Mapping[str, str],
        *,
        ttl: Ttl | None = None,
        expires_at: datetime | None = None,
        keep_ttl: bool = False,
        deadline: float | None = None,
    ) -> dict[str, Item]:
        """Creates or updates items, given as values by their keys, in as many batches as it takes.

        They expire as after `put`. An exception says which keys were `done` before; but for the
        `failed` ones of an `OutcomeUnknown` no other was.
        """
        puts = (
            Put(key, value, upsert=True, ttl=ttl, expires_at=expires_at, keep_ttl=keep_ttl)
            for key, value in items.items()
        )
        return await self._all(puts, deadline)

    async def delete_many(self, keys: Iterable[str], *, deadline: float | None = None) -> None:
        """Deletes items for ever, in as many batches as it takes; keys of none are passed over.

        An exception says which keys were `done` before; but for the `failed` ones of an
        `OutcomeUnknown` no other was.
        """
        await self._all(map(Delete, several(keys)), deadline)

    async def _all(
        self, operations: Iterable[Operation], deadline: float | None
    ) -> dict[str, Item]:
        return await send_all(self._calls, operations, self._calls.until(deadline))

    async def _get(self, key: str, until: float) -> Item:
        return await self._read(path(key), _item, until)

    async def _read(self, target: str, read: Callable[[httpx.Response], T], until: float) -> T:
        return await self._calls.send("GET", target, read, until, write=False)

    async def _put(
        self,
        key: str,
        body: Mapping[str, object],
        met: Mapping[str, str],
        until: float,
        **parameters: bool,
    ) -> Item:
        asked = urlencode({name: "true" for name, value in parameters.items() if value})
        target = path(key) + (asked and f"?{asked}")
        content = to_json(body)
        return await self._calls.send(
            "PUT", target, _item, until, write=True, conditions=met, content=content
        )

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
            target = query(prefix, page_size=page_size, keys_only=only, cursor=cursor)
            found, cursor = await self._read(target, page, self._calls.until(deadline))
            for each in found:
                yield each


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
