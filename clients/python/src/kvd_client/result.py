"""What became of one operation of a batch, as kvd sends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvd_client.item import Item


@dataclass(frozen=True)
class Result:
    """What the single call would have answered.

    `item` is there after a `Get`, `Create` or `Put` that succeeded; `code` and `detail` say what
    went wrong; `etag` is the item's tag now, if a condition did not hold; `retry_after` is how many
    seconds to wait after a 503.
    """

    status: int
    item: Item | None = None
    code: str | None = None
    detail: str | None = None
    etag: str | None = None
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it succeeded; so has a `Get` whose item is still the one of `if_none_match`."""
        return 200 <= self.status < 300 or self.status == 304

    @classmethod
    def from_json(cls, document: Any) -> Result:
        """Raises one of `errors.NOT_KVDS` if the document is no result."""
        status, item = int(document["status"]), document.get("item")
        if item is None and status in (200, 201):
            raise ValueError
        retry_after = document.get("retry_after")
        return cls(
            status=status,
            item=None if item is None else Item.from_json(item),
            code=document.get("code"),
            detail=document.get("detail"),
            etag=document.get("etag"),
            retry_after=None if retry_after is None else float(retry_after),
        )
