"""What is sent: paths, headers and bodies."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlencode

from kvd_client.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# How long an item lasts, in whole seconds.
Ttl: TypeAlias = timedelta | int

_LONGEST_TTL = 3_153_600_000

# Characters of a key or a prefix in a URL. Those that kvd takes have at most 1536; URLs of more
# than 8000 need not be understood (RFC 9110, section 4.1), and httpx sends none above 65536.
_LONGEST_PART = 4_000

ITEMS = "/items/"


def path(key: str) -> str:
    """The path of the item of a key, which is one segment of it."""
    # Percent-encoded or not, these would be another path than that of an item.
    if key in ("", ".", ".."):
        raise InvalidRequest(f"{key!r} is no key", code="invalid-key")
    return ITEMS + _encoded("key", key)


def query(prefix: str, **parameters: str | int) -> str:
    """The path and the query of a page."""
    others = urlencode(parameters, quote_via=quote)
    return f"{ITEMS}?prefix={_encoded('prefix', prefix)}&{others}"


def _encoded(name: str, text: str) -> str:
    """The text for a URL. What kvd can be asked it judges itself."""
    encoded = quote(utf8(name, text), safe="")
    if len(encoded) > _LONGEST_PART:
        detail = f"The {name} is too long: 512 bytes are the most"
        raise InvalidRequest(detail, code=_code(name))
    return encoded


def utf8(name: str, text: str) -> str:
    """The text, which is one of `name`; raises `InvalidRequest` if it cannot be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        detail = f"The {name} has a surrogate at {error.start}: it is no UTF-8"
        raise InvalidRequest(detail, code=_code(name)) from error
    return text


def _code(name: str) -> str:
    return f"invalid-{name}" if name in ("key", "value") else "invalid-request"


def conditions(*, if_match: str | None = None, create_only: bool = False) -> dict[str, str]:
    """The headers of preconditions."""
    headers = {}
    if if_match is not None:
        if not re.fullmatch("[!#-~]*", if_match):
            raise InvalidRequest(f"{if_match!r} is no etag", code="invalid-request")
        headers["If-Match"] = f'"{if_match}"'
    if create_only:
        headers["If-None-Match"] = "*"
    return headers


def several(keys: Iterable[str]) -> Iterable[str]:
    """Each key once. A text is not the keys that its letters would be."""
    if isinstance(keys, str):
        raise InvalidRequest(f"{keys!r} is one key: give a list of keys", code="invalid-request")
    return dict.fromkeys(keys)


def expiry(ttl: Ttl | None, expires_at: datetime | None) -> dict[str, int | str]:
    """The members of a body that say when the item expires. That there is one, kvd judges."""
    members: dict[str, int | str] = {}
    if ttl is not None:
        members["ttl"] = _seconds(ttl)
    if expires_at is not None:
        members["expires_at"] = _rfc3339(expires_at)
    return members


def _seconds(ttl: Ttl) -> int:
    second = timedelta(seconds=1)
    seconds, rest = divmod(ttl, second) if isinstance(ttl, timedelta) else (ttl, timedelta())
    if rest or not 1 <= seconds <= _LONGEST_TTL:
        detail = f"A ttl has whole seconds, from 1 to {_LONGEST_TTL}"
        raise InvalidRequest(detail, code="invalid-request")
    return seconds


def _rfc3339(time: datetime) -> str:
    if time.utcoffset() is None:
        detail = "expires_at has no time zone: datetime.now(timezone.utc) has one"
        raise InvalidRequest(detail, code="invalid-request")
    try:
        return time.astimezone(timezone.utc).isoformat()
    except OverflowError as error:
        detail = "expires_at is in no year from 1 to 9999"
        raise InvalidRequest(detail, code="invalid-request") from error


def to_json(document: Mapping[str, object]) -> bytes:
    """The bytes of a body."""
    return json.dumps(document, ensure_ascii=False).encode()
