"""The exceptions, and which answer or failure of the network becomes which."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from kvd_client.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping


class KvdError(Exception):
    """What went wrong: every exception here is one of these.

    `code` is the one of kvd's problem document; it is `None` if the answer had no such document
    (it came from a proxy) or if there was no answer, and then `status` is `None` too.
    `request_id` is the id under which kvd's log has the request.

    After any error but `OutcomeUnknown` nothing was written, but for the keys in `done`.
    """

    done: tuple[str, ...] = ()
    """The keys that `get_many`, `put_many` or `delete_many` had done before."""

    failed: tuple[str, ...] = ()
    """The keys of such a call that this error is about."""

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        """The detail, and in brackets what is known of the answer."""
        request = self.request_id and f"request {self.request_id}"
        known = [str(part) for part in (self.status, self.code, request) if part]
        return f"{self.detail} [{', '.join(known)}]" if known else self.detail


class InvalidRequest(KvdError, ValueError):
    """The key, the value or another argument breaks a rule of kvd (400), or cannot be sent."""

    index: int | None = None
    """Which operation of a batch it is, counted from 0; nothing of the batch was done."""


class Unauthenticated(KvdError):
    """The client has no token, or one that is not live: unknown, ended or revoked (401)."""


class Forbidden(KvdError):
    """The rules of the token do not allow this, whether there is such an item or not (403)."""


class NotFound(KvdError):
    """There is no item with this key (404)."""


class KeyExists(KvdError):
    """There is an item with this key already (409)."""


class PreconditionFailed(KvdError):
    """The item is not as the condition wants it (412)."""

    etag: str | None = None
    """The item's tag now; `None` if there is no item."""


class BatchFailed(KvdError):
    """An operation of an atomic batch did not succeed, so nothing of it was done (409)."""

    results: tuple[Result, ...] = ()
    """One for each operation; those not to blame have the status 424 and the code `not-done`."""


class ValueTooLarge(KvdError):
    """The value, or a batch, has more bytes than the server takes (413)."""

    index: int | None = None
    """Which operation of a batch it is, counted from 0; nothing of the batch was done."""


class RateLimited(KvdError):
    """The quota is used up until after the deadline (429)."""

    retry_after: float | None = None
    """Seconds until a request is let in."""


class Unavailable(KvdError):
    """Nobody could serve the request until the deadline (503, or no connection)."""

    retry_after: float | None = None
    """Seconds to wait, if the server said so."""


class DatabaseRefused(KvdError):
    """The database refuses this for good: a trigger, a constraint, a missing right (500).

    Nothing was written, and a retry is of no use.
    """


class OutcomeUnknown(KvdError):
    """Nobody said what became of a write (504, or the connection was lost).

    It may have been applied, or may still be. Reading back can prove that it was, never that it
    was not; a retry with `if_match` is safe.
    """


# What reading an answer raises that is not kvd's: JSON that is none, or is another document.
NOT_KVDS = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)

_BY_CODE: Mapping[str, type[KvdError]] = {
    "invalid-request": InvalidRequest,
    "invalid-key": InvalidRequest,
    "invalid-value": InvalidRequest,
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "item-not-found": NotFound,
    "key-exists": KeyExists,
    "batch-failed": BatchFailed,
    "precondition-failed": PreconditionFailed,
    "value-too-large": ValueTooLarge,
    "rate-limited": RateLimited,
    "not-implemented": KvdError,
    "database-refused": DatabaseRefused,
    "database-unavailable": Unavailable,
    "overloaded": Unavailable,
    "outcome-unknown": OutcomeUnknown,
}

# Before any byte of the request was sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)

# No attempt can send it: a URL or a host name that is none, a port or a time limit beyond the
# system's numbers.
_UNSENDABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, OverflowError)


def from_failure(failure: Exception, *, write: bool) -> KvdError:
    """The exception for a request that got no answer; httpx lets errors of other libraries out."""
    kind: type[KvdError] = KvdError
    if isinstance(failure, _UNSENDABLE) or _is_no_request(failure):
        kind = InvalidRequest
    elif isinstance(failure, _NOT_SENT):
        kind = Unavailable
    elif write:
        kind = OutcomeUnknown
    elif isinstance(failure, httpx.RequestError):
        kind = Unavailable
    error = kind(f"{type(failure).__name__}: {failure}")
    error.__cause__ = failure
    return error


def _is_no_request(failure: Exception) -> bool:
    """Whether h11 refused to make a request of it, such as for the bytes of a header.

    Over HTTP/2 a failure of this type may also come after the request was sent.
    """
    mapped = failure.__cause__ if isinstance(failure, httpx.LocalProtocolError) else None
    origin = mapped and mapped.__context__
    return type(origin).__module__.partition(".")[0] == "h11"


def from_answer(response: httpx.Response, *, write: bool) -> KvdError:
    """The exception for an answer that is not what was asked for."""
    problem = _problem(response)
    status, code = response.status_code, problem.get("code")
    no_problem = f"{status} {response.reason_phrase} is no answer of kvd"
    error = _kind(status, code, write=write)(
        problem.get("detail", no_problem),
        code=code,
        status=status,
        request_id=response.headers.get("X-Request-Id"),
    )
    if isinstance(error, PreconditionFailed):
        error.etag = _etag(response.headers)
    if isinstance(error, RateLimited | Unavailable):
        error.retry_after = _retry_after(response.headers)
    if isinstance(error, InvalidRequest | ValueTooLarge):
        error.index = _index(problem)
    if isinstance(error, BatchFailed):
        with suppress(*NOT_KVDS):
            error.results = tuple(Result.from_json(result) for result in problem["results"])
    return error


def from_result(result: Result, *, write: bool) -> KvdError | None:
    """The exception that a single call would have raised."""
    if result.ok:
        return None
    kind = _kind(result.status, result.code, write=write)
    detail = result.detail or f"{result.status} is no result of kvd"
    error = kind(detail, code=result.code, status=result.status)
    if isinstance(error, PreconditionFailed):
        error.etag = result.etag
    if isinstance(error, RateLimited | Unavailable):
        error.retry_after = result.retry_after
    return error


def _problem(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = response.json()
    except NOT_KVDS:
        return {}
    return problem if isinstance(problem, dict) else {}


def _kind(status: int, code: object, *, write: bool) -> type[KvdError]:
    return _BY_CODE.get(str(code)) or _by_status(status, write=write)


def _by_status(status: int, *, write: bool) -> type[KvdError]:
    """For proxies and for `internal`: they promise nothing, except that 4xx was not served."""
    if status == 413:
        return ValueTooLarge
    if status == 429:
        return RateLimited
    if write and (status < 300 or status >= 500):
        return OutcomeUnknown
    if status in (502, 503, 504):
        return Unavailable
    return KvdError


def _etag(headers: Mapping[str, str]) -> str | None:
    # Proxies that compress answers weaken their tags, or rename them.
    etag = headers.get("ETag")
    return etag and re.sub("-(gzip|br)$", "", etag.removeprefix("W/").strip('"'))


def _index(problem: Mapping[str, Any]) -> int | None:
    index = problem.get("index")
    return index if isinstance(index, int) else None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """In seconds: kvd sends seconds, proxies may send a date (RFC 9110)."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at - datetime.now(timezone.utc)).total_seconds())
