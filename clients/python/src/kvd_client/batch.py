"""The operations of a batch, and how they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, TypeAlias

from kvd_client.errors import InvalidRequest
from kvd_client.wire import Ttl, expiry, to_json, utf8

if TYPE_CHECKING:
    from datetime import datetime

# An `etag`, several of them, or "*" for any.
Tags: TypeAlias = str | Sequence[str]


@dataclass(frozen=True)
class Get:
    """Reads an item: 200, or 404.

    With `if_match` 412 if it is in none of these states, with `if_none_match` 304 if it is in one.
    """

    key: str
    _: KW_ONLY
    if_match: Tags | None = None
    if_none_match: Tags | None = None


@dataclass(frozen=True)
class Create:
    """Creates an item, which may expire: 201, or 409."""

    key: str
    value: str
    _: KW_ONLY
    ttl: Ttl | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Put:
    """Updates an item, or with `upsert` also creates it: 200, 201, or 404.

    With `if_match` and `if_none_match` 412 if that does not hold; `if_none_match="*"` only creates.
    Without `ttl`, `expires_at` or `keep_ttl` it then lasts for ever.
    """

    key: str
    value: str
    _: KW_ONLY
    upsert: bool = False
    if_match: Tags | None = None
    if_none_match: Tags | None = None
    ttl: Ttl | None = None
    expires_at: datetime | None = None
    keep_ttl: bool = False


@dataclass(frozen=True)
class Delete:
    """Deletes an item for ever: 204, or 404; 412 if a condition does not hold."""

    key: str
    _: KW_ONLY
    if_match: Tags | None = None
    if_none_match: Tags | None = None


Operation: TypeAlias = Get | Create | Put | Delete


@dataclass(frozen=True)
class Encoded:
    """An operation, and its JSON."""

    operation: Operation
    content: bytes

    @property
    def key(self) -> str:
        """The key of the operation."""
        return self.operation.key

    @property
    def writes(self) -> bool:
        """Whether the operation may change something."""
        return not isinstance(self.operation, Get)

    @property
    def may_be_missing(self) -> bool:
        """Whether a caller who names many keys does not mind that there is no such item."""
        return isinstance(self.operation, Get | Delete)


def encode(operations: Iterable[Operation]) -> list[Encoded]:
    """Raises `InvalidRequest`, with an `index`, if one of them cannot be sent."""
    encoded = []
    for index, operation in enumerate(operations):
        try:
            encoded.append(Encoded(operation, to_json(_members(operation))))
        except InvalidRequest as error:
            error.index = index
            error.failed = (operation.key,)
            raise
    return encoded


def _members(operation: Operation) -> dict[str, object]:
    members: dict[str, object] = {"op": type(operation).__name__.lower(), **vars(operation)}
    utf8("key", operation.key)
    if isinstance(operation, Create | Put):
        utf8("value", operation.value)
        members |= expiry(operation.ttl, operation.expires_at)
    if not isinstance(operation, Create):
        for tags in (operation.if_match, operation.if_none_match):
            # Several tags are looked through as one text.
            utf8("tag", "".join(tags or ()))
    return {name: value for name, value in members.items() if value not in (None, False)}
