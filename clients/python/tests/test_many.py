"""Any number of keys: in as many batches as it takes."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from servers import Cut, document, page, problem, results, serve

from kvd_client import (
    Client,
    DatabaseRefused,
    Forbidden,
    InvalidRequest,
    Item,
    KvdError,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Connect

# What a batch may have.
OPERATIONS = 100
BYTES = 8 * 1024 * 1024

DONE = {"status": 204}
MISSING = {"status": 404, "code": "item-not-found", "detail": "D"}
BUSY = {"status": 503, "code": "overloaded", "detail": "B", "retry_after": 0}
BUSY_FOR_AN_HOUR = BUSY | {"retry_after": 3600}
UNKNOWN = {"status": 504, "code": "outcome-unknown", "detail": "U"}
REFUSED = {"status": 500, "code": "database-refused", "detail": "R"}

WRITES: dict[str, Callable[[Client, list[str]], object]] = {
    "put_many": lambda client, keys: client.put_many(dict.fromkeys(keys, "v")),
    "delete_many": lambda client, keys: client.delete_many(keys),
}
CALLS: dict[str, Callable[[Client, list[str]], object]] = {
    "get_many": lambda client, keys: client.get_many(keys),
    **WRITES,
}
every_write = pytest.mark.parametrize("write", WRITES)
every_call = pytest.mark.parametrize("call", CALLS)


class Store:
    """Answers batches like a kvd that has these values; first with the `failures` of a key."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.failures: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.sizes: list[int] = []
        self.batches: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        operations = json.loads(request.content)["operations"]
        self.sizes.append(len(request.content))
        self.batches.append([operation["key"] for operation in operations])
        assert (request.method, request.url.path) == ("POST", "/batch")
        assert len(request.content) <= BYTES
        assert 0 < len(operations) <= OPERATIONS
        assert len(set(self.batches[-1])) == len(operations)
        found = [self.result(**operation) for operation in operations]
        return httpx.Response(207, json={"results": found})

    def result(self, op: str, key: str, value: str = "", upsert: bool = False) -> dict[str, Any]:
        if self.failures[key]:
            return self.failures[key].pop(0)
        if op == "put":
            assert upsert
            self.values[key] = value
        if key not in self.values:
            return MISSING
        if op == "delete":
            del self.values[key]
            return DONE
        return {"status": 200, "item": document(key, self.values[key])}


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def stored(connect: Connect, store: Store) -> Client:
    """A client of the store."""
    return connect("http://kvd", transport=httpx.MockTransport(store))


def numbered(count: int) -> list[str]:
    return [f"{number:04}" for number in range(count)]


# With a real kvd.


def test_many_items_are_written_read_and_deleted(client: Client, key: str) -> None:
    values = {f"{key}{number:03}": str(number) for number in range(250)}
    put = client.put_many(values)
    assert {each: item.value for each, item in put.items()} == values
    assert client.get_many(values) == put
    assert list(client.items(key)) == list(put.values())
    assert client.put_many(values)[f"{key}000"].version == 2
    client.delete_many(list(values)[10:])
    assert list(client.get_many(values)) == list(values)[:10]
    client.delete_many(values)
    assert client.get_many(values) == {}


def test_many_items_that_are_too_large_for_one_batch(client: Client, key: str) -> None:
    # As JSON each takes six times its bytes.
    values = {f"{key}{number}": chr(number + 1) * 262_144 for number in range(8)}
    client.put_many(values)
    found = client.get_many(values)
    assert {each: item.value for each, item in found.items()} == values
    client.delete_many(values)


def test_many_items_that_expire(client: Client, key: str) -> None:
    end = datetime(2999, 1, 1, tzinfo=timezone.utc)
    values = {f"{key}a": "v", f"{key}b": "v"}
    for item in client.put_many(values, ttl=timedelta(hours=1)).values():
        assert item.expires_at
        assert item.created_at < item.expires_at < end
    each_end: list[dict[str, Any]] = [{"expires_at": end}, {"keep_ttl": True}, {}]
    for ends in each_end:
        put = client.put_many(values, **ends)
        expected = end if ends else None
        assert [item.expires_at for item in put.values()] == [expected, expected]


def test_a_mistake_among_many(client: Client, key: str) -> None:
    values = {f"{key}{number:03}": "v" for number in range(150)}
    with pytest.raises(InvalidRequest) as caught:
        client.put_many({**values, f"{key}bad": "\0", f"{key}last": "v"})
    assert caught.value.code == "invalid-value"
    assert caught.value.failed == (f"{key}bad",)
    assert caught.value.done == tuple(client.keys(key)) == tuple(values)[:100]


# Without one.


@every_call
@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
def test_many_keys_are_sent_in_batches(stored: Client, store: Store, call: str, count: int) -> None:
    keys = numbered(count)
    CALLS[call](stored, keys)
    assert store.batches == [keys[start : start + 100] for start in range(0, count, 100)]


def test_a_batch_is_filled_to_its_last_byte(stored: Client, store: Store) -> None:
    empty = len('{"atomic":false,"operations":[]}')
    one = len('{"op": "put", "key": "a", "value": "", "upsert": true}')
    for more, batches in ((0, [["a", "b"]]), (1, [["a"], ["b"]])):
        store.batches.clear()
        left = BYTES - empty - 2 * one - len(",")
        stored.put_many({"a": "é" * 1_000_000, "b": "x" * (left - 2_000_000 + more)})
        assert store.batches == batches
    assert store.sizes[0] == BYTES
    store.batches.clear()
    stored.put_many(dict.fromkeys("abcde", "\1" * 600_000))
    assert store.batches == [["a", "b"], ["c", "d"], ["e"]]


def test_what_is_too_large_for_any_batch_is_left_to_kvd(connect: Connect) -> None:
    large = {"a": "v", "b": "x" * BYTES, "c": "v"}
    put = {"status": 201, "item": document("a")}
    with serve(results(put), problem(413, "value-too-large")) as server:
        with pytest.raises(ValueTooLarge) as caught:
            connect(server.url).put_many(large)
        assert len(server.requests) == 2
    assert (caught.value.done, caught.value.failed) == (("a",), ("b",))


@pytest.mark.parametrize("call", ["get_many", "delete_many"])
def test_a_text_is_not_the_keys_of_its_letters(stored: Client, store: Store, call: str) -> None:
    with pytest.raises(InvalidRequest, match="one key"):
        getattr(stored, call)("abc")
    assert store.batches == []


def test_each_key_is_asked_for_once(stored: Client, store: Store) -> None:
    store.values = {"a": "1", "c": "3"}
    found = stored.get_many(iter(["c", "b", "a", "b", "c"]))
    assert [(key, item.value) for key, item in found.items()] == [("c", "3"), ("a", "1")]
    assert found["a"] == Item.from_json(document("a", "1"))
    stored.delete_many(iter(["a", "b", "a"]))
    assert store.batches == [["c", "b", "a"], ["a", "b"]]
    assert store.values == {"c": "3"}


@every_call
def test_only_keys_that_were_not_served_are_sent_again(
    stored: Client, store: Store, call: str
) -> None:
    keys = numbered(150)
    store.failures["0007"] = [BUSY, BUSY]
    store.failures["0042"] = [BUSY]
    store.failures["0149"] = [BUSY]
    CALLS[call](stored, keys)
    again = [["0007", "0042"], ["0007"], keys[100:], ["0149"]]
    assert store.batches == [keys[:100], *again]


def test_values_that_find_no_room_are_asked_for_again(stored: Client, store: Store) -> None:
    store.values = dict.fromkeys("abcd", "v")
    for letter, times in zip("abcd", range(4), strict=True):
        store.failures[letter] = [BUSY] * times
    assert sorted(stored.get_many(list("abcd"))) == list("abcd")
    assert store.batches == [list("abcd"), list("bcd"), list("cd"), ["d"]]


@every_call
def test_a_key_that_is_not_served_until_the_deadline(
    stored: Client, store: Store, call: str
) -> None:
    keys = numbered(250)
    store.failures["0107"] = [BUSY_FOR_AN_HOUR]
    store.failures["0108"] = [BUSY, BUSY_FOR_AN_HOUR]
    with pytest.raises(Unavailable) as caught:
        CALLS[call](stored, keys)
    assert store.batches == [keys[:100], keys[100:200]]
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (503, "overloaded", 3600)
    assert error.failed == ("0107", "0108")
    assert error.done == (*keys[:107], *keys[109:200])


@every_write
def test_a_key_of_which_nobody_knows(stored: Client, store: Store, write: str) -> None:
    keys = numbered(250)
    store.failures["0001"] = [BUSY]
    store.failures["0101"] = [REFUSED]
    store.failures["0102"] = [UNKNOWN]
    store.failures["0103"] = [UNKNOWN]
    with pytest.raises(OutcomeUnknown) as caught:
        WRITES[write](stored, keys)
    assert store.batches == [keys[:100], ["0001"], keys[100:200]]
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.status, error.code, error.detail) == (504, "outcome-unknown", "U")
        assert error.failed == ("0102", "0103")
        assert set(error.done) == {*keys[:200]} - {"0101", "0102", "0103"}


@every_write
def test_a_key_that_the_database_refuses(stored: Client, store: Store, write: str) -> None:
    store.failures["b"] = [REFUSED]
    with pytest.raises(DatabaseRefused) as caught:
        WRITES[write](stored, list("abc"))
    assert (caught.value.done, caught.value.failed) == (("a", "c"), ("b",))


@every_write
@pytest.mark.parametrize("lost", [Cut(), problem(504, "outcome-unknown"), page(502), page(200)])
def test_a_batch_whose_answer_is_lost(connect: Connect, write: str, lost: bytes) -> None:
    keys = numbered(101)
    put = [{"status": 200, "item": document(key)} for key in keys]
    with serve(results(*put[:100]), lost, results(*put[100:])) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            WRITES[write](connect(server.url), keys)
        assert len(server.requests) == 2
    assert (caught.value.done, caught.value.failed) == (tuple(keys[:100]), ("0100",))


@every_write
def test_keys_whose_second_answer_is_lost(connect: Connect, write: str) -> None:
    put = {"status": 200, "item": document()}
    with serve(results(put, BUSY, BUSY), Cut(), results(put, put)) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            WRITES[write](connect(server.url), list("abc"))
        assert len(server.requests) == 2
    assert (caught.value.done, caught.value.failed) == (("a",), ("b", "c"))


def test_many_reads_whose_answer_is_lost_are_sent_again(connect: Connect) -> None:
    read = {"status": 200, "item": document("a")}
    with serve(Cut(), page(502), results(BUSY, MISSING), Cut(), results(read)) as server:
        assert list(connect(server.url).get_many(["a", "b"])) == ["a"]
        assert len(server.requests) == 5


@every_call
@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (problem(403, "forbidden"), Forbidden),
        (problem(429, "rate-limited", Retry_After="3600"), RateLimited),
        (problem(503, "overloaded", Retry_After="3600"), Unavailable),
        (problem(400, "invalid-request"), InvalidRequest),
        (problem(404, "route-not-found"), KvdError),
    ],
)
def test_a_batch_that_is_refused(
    connect: Connect, call: str, refusal: bytes, kind: type[KvdError]
) -> None:
    keys = numbered(150)
    read = [{"status": 200, "item": document(key)} for key in keys[:100]]
    with serve(results(*read), refusal) as server:
        with pytest.raises(kind) as caught:
            CALLS[call](connect(server.url), keys)
        assert len(server.requests) == 2
    assert type(caught.value) is kind
    assert (caught.value.done, caught.value.failed) == (tuple(keys[:100]), tuple(keys[100:]))


@every_call
def test_a_batch_that_is_refused_for_a_while_is_sent_again(connect: Connect, call: str) -> None:
    read = {"status": 200, "item": document()}
    refusals = [
        problem(429, "rate-limited", Retry_After="0"),
        problem(503, "overloaded", Retry_After="0"),
    ]
    with serve(*refusals, results(read)) as server:
        CALLS[call](connect(server.url), ["k"])
        first, *others = server.requests
        assert others == [first, first]


@every_call
def test_a_key_with_a_mistake(connect: Connect, call: str) -> None:
    keys = numbered(150)
    read = [{"status": 200, "item": document(key)} for key in keys[:100]]
    mistake = problem(400, "invalid-key", {"index": 7})
    with serve(results(*read), mistake) as server, pytest.raises(InvalidRequest) as caught:
        CALLS[call](connect(server.url), keys)
    # That counts within a batch of which the caller does not know.
    assert caught.value.index is None
    assert (caught.value.done, caught.value.failed) == (tuple(keys[:100]), ("0107",))


@every_call
@pytest.mark.parametrize("index", [2, "0", None, []])
def test_a_mistake_in_no_operation(connect: Connect, call: str, index: object) -> None:
    mistake = problem(413, "value-too-large", {"index": index})
    with serve(mistake) as server, pytest.raises(ValueTooLarge) as caught:
        CALLS[call](connect(server.url), ["a", "b"])
    assert caught.value.failed == ("a", "b")


def test_what_is_written_is_never_missing(stored: Client, store: Store) -> None:
    store.failures["b"] = [MISSING]
    with pytest.raises(NotFound) as caught:
        stored.put_many({"a": "v", "b": "v"})
    assert (caught.value.done, caught.value.failed) == (("a",), ("b",))


@every_call
def test_nothing_is_sent_if_a_key_cannot_be(connect: Connect, call: str) -> None:
    with serve() as server:
        with pytest.raises(InvalidRequest, match="key has a surrogate") as caught:
            CALLS[call](connect(server.url), [*numbered(150), "\ud800"])
        assert server.requests == []
    assert (caught.value.done, caught.value.failed) == ((), ("\ud800",))


@every_call
def test_after_the_deadline_nothing_is_sent(connect: Connect, store: Store, call: str) -> None:
    client = connect("http://kvd", deadline=0, transport=httpx.MockTransport(store))
    with pytest.raises(Unavailable, match="deadline has passed") as caught:
        CALLS[call](client, numbered(101))
    assert store.batches == []
    assert (caught.value.done, caught.value.failed) == ((), tuple(numbered(100)))


@every_call
def test_the_deadline_is_of_all_batches(
    stored: Client, store: Store, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each batch takes four of the ten seconds.
    clock = SimpleNamespace(monotonic=lambda: 4 * len(store.batches))
    monkeypatch.setattr("kvd_client.calls.time", clock)
    with pytest.raises(Unavailable, match="deadline has passed") as caught:
        CALLS[call](stored, numbered(500))
    assert len(store.batches) == 3
    assert (caught.value.done, caught.value.failed) == (
        tuple(numbered(300)),
        tuple(numbered(500)[300:400]),
    )
