"""The item, as kvd sends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Item:
    """A key with its value.

    `version` is 1 at creation and one more with every update; `etag` names this state of the item,
    for `if_match`. At `expires_at` the item is gone; if that is `None`, never. Times are in UTC.
    """

    key: str
    value: str
    version: int
    etag: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None

    @classmethod
    def from_json(cls, document: Any) -> Item:
        """Raises one of `errors.NOT_KVDS` if the document is no item."""
        # A kvd before 0.2 has no such member.
        expires_at = document.get("expires_at")
        return cls(
            key=document["key"],
            value=document["value"],
            version=document["version"],
            etag=document["etag"],
            created_at=read_time(document["created_at"]),
            updated_at=read_time(document["updated_at"]),
            expires_at=None if expires_at is None else read_time(expires_at),
        )


def read_time(rfc3339: str) -> datetime:
    """A time as kvd writes it."""
    # Python 3.10 does not know the Z.
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00"))
