"""What a token may do, as kvd sends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kvd_client.item import read_time

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Rule:
    """Allows an access to all keys that begin with `prefix`; the empty one is of every key.

    `access` is `"read"`, or `"write"`, which includes it.
    """

    prefix: str
    access: Literal["read", "write"]


@dataclass(frozen=True)
class Identity:
    """What the sender of a request may do: what one of the `rules` allows is allowed.

    `name` is the name of the token; it is `None` where kvd asks for no token. `expires_at` is when
    the token ends, in UTC; it is `None` if it never does.
    """

    name: str | None
    rules: tuple[Rule, ...]
    expires_at: datetime | None

    @classmethod
    def from_json(cls, document: Any) -> Identity:
        """Raises one of `errors.NOT_KVDS` if the document is no identity."""
        expires_at = document["expires_at"]
        return cls(
            name=document["name"],
            rules=tuple(Rule(rule["prefix"], rule["access"]) for rule in document["rules"]),
            expires_at=None if expires_at is None else read_time(expires_at),
        )
