"""How batches are sent: again what was not served, and in parts what is too large for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvd_client import errors
from kvd_client.batch import encode
from kvd_client.calls import backoff
from kvd_client.errors import (
    InvalidRequest,
    KvdError,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    ValueTooLarge,
)
from kvd_client.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import httpx

    from kvd_client.batch import Encoded, Operation
    from kvd_client.calls import Calls
    from kvd_client.item import Item

# What kvd takes in one batch: operations, and bytes of the body.
_MOST_OPERATIONS = 100
_MOST_BYTES = 8 * 1024 * 1024

_PLAIN, _ATOMIC, _END = b'{"atomic":false,"operations":[', b'{"atomic":true,"operations":[', b"]}"


async def send_batch(
    calls: Calls, operations: Sequence[Encoded], until: float, *, atomic: bool = False
) -> list[Result]:
    """The results of one batch."""

    def read(response: httpx.Response) -> list[Result]:
        results = response.json()["results"]
        return [Result.from_json(each) for each, _ in zip(results, operations, strict=True)]

    joined = b",".join(operation.content for operation in operations)
    content = (_ATOMIC if atomic else _PLAIN) + joined + _END
    write = any(operation.writes for operation in operations)
    return await calls.send("POST", "/batch", read, until, write=write, content=content)


async def send_each(calls: Calls, operations: Sequence[Encoded], until: float) -> list[Result]:
    """The results of one batch, of which is sent again what a single call would send again."""
    results = await send_batch(calls, operations, until)
    waits = backoff()
    while again := _not_served(operations, results):
        # All that is sent again is sent together, so none comes before its time.
        told = [error.retry_after for error in again.values() if error.retry_after is not None]
        seconds = max(told) if told else next(waits)
        try:
            await calls.wait(seconds, until, next(iter(again.values())))
            served = await send_batch(calls, [operations[index] for index in again], until)
        except OutcomeUnknown as error:
            lost = Result(504, code="outcome-unknown", detail=error.detail)
            for index in again:
                if operations[index].writes:
                    results[index] = lost
            return results
        except KvdError:
            # What was said of them before still holds: nothing was written.
            return results
        for index, result in zip(again, served, strict=True):
            results[index] = result
    return results


def _not_served(operations: Sequence[Encoded], results: Sequence[Result]) -> dict[int, Unavailable]:
    """Which operations can be sent again, since nothing was written."""
    found = {}
    for index, (operation, result) in enumerate(zip(operations, results, strict=True)):
        error = errors.from_result(result, write=operation.writes)
        if isinstance(error, Unavailable):
            found[index] = error
    return found


async def send_all(calls: Calls, operations: Iterable[Operation], until: float) -> dict[str, Item]:
    """The items of any number of operations, which are sent in as many batches as they need.

    A key that is not there to be read or deleted is no failure. After a batch with a failure no
    other is sent.
    """
    items: dict[str, Item] = {}
    done: list[str] = []
    for part in _parts(encode(operations)):
        try:
            results = await send_each(calls, part, until)
        except KvdError as error:
            error.done, error.failed = tuple(done), _at_fault(part, error)
            raise
        failures: dict[str, KvdError] = {}
        for operation, result in zip(part, results, strict=True):
            failure = errors.from_result(result, write=operation.writes)
            if failure is None or (isinstance(failure, NotFound) and operation.may_be_missing):
                done.append(operation.key)
            else:
                failures[operation.key] = failure
            if result.item is not None:
                items[operation.key] = result.item
        if failures:
            raise _one_of(failures, done)
    return items


def _parts(operations: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    """Batches that kvd takes. An operation too large for any is one alone, for kvd to refuse."""
    part: list[Encoded] = []
    size = 0
    for operation in operations:
        more = len(b",") + len(operation.content)
        if part and (len(part) == _MOST_OPERATIONS or size + more > _MOST_BYTES):
            yield part
            part = []
        if not part:
            # As if a comma stood before the first, too.
            size = len(_PLAIN) + len(_END) - len(b",")
        part.append(operation)
        size += more
    if part:
        yield part


def _at_fault(part: Sequence[Encoded], error: KvdError) -> tuple[str, ...]:
    """The keys of a batch that was refused as a whole: the one with the mistake, or all."""
    keys = tuple(operation.key for operation in part)
    if isinstance(error, InvalidRequest | ValueTooLarge) and error.index is not None:
        # It counts within this batch, of which the caller does not know.
        index, error.index = error.index, None
        return keys[index : index + 1] or keys
    return keys


def _one_of(failures: Mapping[str, KvdError], done: Sequence[str]) -> KvdError:
    """The failure to raise. Only after an `OutcomeUnknown` something may have been written."""
    kinds = [type(failure) for failure in failures.values()]
    kind = OutcomeUnknown if OutcomeUnknown in kinds else kinds[0]
    alike = {key: failure for key, failure in failures.items() if type(failure) is kind}
    error = next(iter(alike.values()))
    error.done, error.failed = tuple(done), tuple(alike)
    return error
