"""Many operations in one request, each with its own result."""

from __future__ import annotations

import dataclasses
import json
import pickle
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from servers import Cut, answer, document, page, problem, results, serve

from kvd_client import (
    BatchFailed,
    Create,
    Delete,
    Get,
    InvalidRequest,
    Item,
    KvdError,
    OutcomeUnknown,
    Put,
    Result,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from conftest import Connect
    from servers import FakeServer

    from kvd_client import Client, Operation

READ = {"status": 200, "item": document()}
DONE = {"status": 204}
MISSING = {"status": 404, "code": "item-not-found", "detail": "D"}
BUSY = {"status": 503, "code": "overloaded", "detail": "B", "retry_after": 0}
BUSY_FOR_AN_HOUR = BUSY | {"retry_after": 3600}
UNKNOWN = {"status": 504, "code": "outcome-unknown", "detail": "U"}
REFUSED = {"status": 500, "code": "database-refused", "detail": "R"}


def sent(server: FakeServer) -> list[list[str]]:
    """The keys of each batch."""
    bodies = [json.loads(request.body) for request in server.requests]
    return [[operation["key"] for operation in body["operations"]] for body in bodies]


# With a real kvd.


def test_each_operation_has_its_result_in_the_order_asked(client: Client, key: str) -> None:
    there, gone = client.create(f"{key}there", "a"), client.create(f"{key}gone", "b")
    created, put, missing, got, deleted, exists = client.batch(
        [
            Create(f"{key}new", "c"),
            Put(f"{key}upserted", "d", upsert=True),
            Put(f"{key}missing", "e"),
            Get(there.key),
            Delete(gone.key),
            Get(f"{key}none"),
        ]
    )
    assert (created.status, put.status, got.status, deleted.status) == (201, 201, 200, 204)
    for result in (created, put, got, deleted):
        assert result.ok
        assert (result.code, result.detail, result.retry_after) == (None, None, None)
    assert got.item == there
    assert created.item == client.get(f"{key}new")
    assert put.item == client.get(f"{key}upserted")
    assert deleted.item is None
    for result in (missing, exists):
        assert (result.ok, result.status, result.code) == (False, 404, "item-not-found")
        assert result.detail
        assert result.item is None
    assert list(client.keys(key)) == [f"{key}new", f"{key}there", f"{key}upserted"]


def test_conditions_of_operations(client: Client, key: str) -> None:
    items = [client.create(f"{key}{number}", "v") for number in range(6)]
    keys, tags = [item.key for item in items], [item.etag for item in items]
    found = client.batch(
        [
            Put(keys[0], "w", if_match=tags[0]),
            Put(keys[1], "w", if_match=["1-99", tags[1]]),
            Put(keys[2], "w", if_match="1-99"),
            Put(keys[3], "w", if_none_match="*"),
            Get(keys[4], if_none_match=tags[4]),
            Delete(keys[5], if_match="*"),
        ]
    )
    assert [result.status for result in found] == [200, 200, 412, 412, 304, 204]
    assert [result.etag for result in found[2:4]] == tags[2:4]
    assert [result.ok for result in found] == [True, True, False, False, True, True]
    assert (found[2].code, found[4].item) == ("precondition-failed", None)


def test_operations_that_say_when_items_expire(client: Client, key: str) -> None:
    end = datetime(2999, 1, 1, tzinfo=timezone.utc)
    keys = [f"{key}{number}" for number in range(4)]
    for each in keys[1:]:
        client.create(each, "v", expires_at=end)
    created, kept, moved, for_ever = client.batch(
        [
            Create(keys[0], "v", ttl=timedelta(hours=1)),
            Put(keys[1], "w", keep_ttl=True),
            Put(keys[2], "w", expires_at=end + timedelta(days=1)),
            Put(keys[3], "w"),
        ]
    )
    assert created.item
    assert created.item.expires_at
    assert created.item.created_at < created.item.expires_at < end
    assert kept.item
    assert kept.item.expires_at == end
    assert moved.item
    assert moved.item.expires_at == end + timedelta(days=1)
    assert for_ever.item
    assert for_ever.item.expires_at is None


def test_an_atomic_batch_is_done_as_a_whole(client: Client, key: str) -> None:
    first, second = client.batch(
        [Create(f"{key}a", "v"), Put(f"{key}b", "w", upsert=True)], atomic=True
    )
    assert (first.status, second.status) == (201, 201)
    assert list(client.items(key)) == [first.item, second.item]


def test_an_atomic_batch_that_fails_does_nothing(client: Client, key: str) -> None:
    item = client.create(f"{key}b", "v")
    with pytest.raises(BatchFailed) as caught:
        client.batch(
            [Create(f"{key}a", "v"), Put(f"{key}b", "w", if_match="1-99"), Get(f"{key}c")],
            atomic=True,
        )
    assert (caught.value.status, caught.value.code) == (409, "batch-failed")
    created, put, got = caught.value.results
    assert (created.status, created.code) == (424, "not-done")
    assert (put.status, put.code, put.etag) == (412, "precondition-failed", item.etag)
    assert (got.status, got.code) == (404, "item-not-found")
    assert list(client.items(key)) == [item]


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    ("mistake", "kind", "code"),
    [
        (Put("a\nb", "v"), InvalidRequest, "invalid-key"),
        (Delete(".."), InvalidRequest, "invalid-key"),
        (Create("new", "\0"), InvalidRequest, "invalid-value"),
        (Get("new", if_match='"1-1"'), InvalidRequest, "invalid-request"),
        (Put("new", "v", ttl=1, keep_ttl=True), InvalidRequest, "invalid-request"),
        (Put("new", "x" * 262_145), ValueTooLarge, "value-too-large"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_done(
    client: Client, key: str, atomic: bool, mistake: Operation, kind: type[KvdError], code: str
) -> None:
    operations = [Put(f"{key}a", "v", upsert=True), mistake, Put(f"{key}b", "v", upsert=True)]
    with pytest.raises(kind) as caught:
        client.batch(operations, atomic=atomic)
    assert isinstance(caught.value, InvalidRequest | ValueTooLarge)
    assert (caught.value.code, caught.value.index) == (code, 1)
    assert client.count(key) == 0


def test_what_is_no_batch(client: Client, key: str) -> None:
    batches: list[list[Operation]] = [
        [],
        [Get(f"{key}{number}") for number in range(101)],
        [Get(key), Delete(key)],
    ]
    for operations in batches:
        with pytest.raises(InvalidRequest) as caught:
            client.batch(operations)
        assert (caught.value.status, caught.value.code) == (400, "invalid-request")


# Without one.


def test_operations_as_they_are_sent(connect: Connect) -> None:
    end = datetime(2999, 1, 1, tzinfo=timezone.utc)
    operations: list[Operation] = [
        Get("a"),
        Get("b", if_match="1-1", if_none_match=["2-1", "2-2"]),
        Create("é", ""),
        Create("d", "v", ttl=60),
        Create("e", "v", expires_at=end),
        Put("f", "v"),
        Put("g", "v", upsert=True, if_match=("1-1",), if_none_match="*", keep_ttl=True),
        Put("h", "v", ttl=timedelta(minutes=1)),
        Delete("i"),
        Delete("j", if_match="*", if_none_match="1-1"),
    ]
    expected: list[dict[str, Any]] = [
        {"op": "get", "key": "a"},
        {"op": "get", "key": "b", "if_match": "1-1", "if_none_match": ["2-1", "2-2"]},
        {"op": "create", "key": "é", "value": ""},
        {"op": "create", "key": "d", "value": "v", "ttl": 60},
        {"op": "create", "key": "e", "value": "v", "expires_at": "2999-01-01T00:00:00+00:00"},
        {"op": "put", "key": "f", "value": "v"},
        {
            **{"op": "put", "key": "g", "value": "v", "upsert": True, "keep_ttl": True},
            **{"if_match": ["1-1"], "if_none_match": "*"},
        },
        {"op": "put", "key": "h", "value": "v", "ttl": 60},
        {"op": "delete", "key": "i"},
        {"op": "delete", "key": "j", "if_match": "*", "if_none_match": "1-1"},
    ]
    for atomic in (False, True):
        with serve(results(*[DONE] * 10)) as server:
            assert len(connect(server.url).batch(iter(operations), atomic=atomic)) == 10
            (request,) = server.requests
        assert (request.method, request.target) == ("POST", "/batch")
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body) == {"atomic": atomic, "operations": expected}


def test_results_as_they_are_read(connect: Connect) -> None:
    failed = {"status": 412, "code": "precondition-failed", "detail": "P", "etag": "17-3"}
    with serve(results(READ, MISSING, failed, DONE, BUSY_FOR_AN_HOUR, {"status": 304})) as server:
        found = connect(server.url).batch([Get(letter) for letter in "abcdef"])
    assert found == [
        Result(200, item=Item.from_json(document())),
        Result(404, code="item-not-found", detail="D"),
        Result(412, code="precondition-failed", detail="P", etag="17-3"),
        Result(204),
        Result(503, code="overloaded", detail="B", retry_after=3600),
        Result(304),
    ]
    assert [result.ok for result in found] == [True, False, False, True, False, True]


def test_only_what_was_not_served_is_sent_again(connect: Connect) -> None:
    operations = [Put(letter, "v") for letter in "abcd"]
    told = BUSY | {"code": "database-unavailable"}
    untold = {"status": 503, "code": "overloaded", "detail": "B"}
    with serve(
        results(told, READ, untold, UNKNOWN), results(DONE, untold), results(MISSING)
    ) as server:
        found = connect(server.url).batch(operations)
        assert sent(server) == [["a", "b", "c", "d"], ["a", "c"], ["c"]]
        first, again, _ = [json.loads(request.body) for request in server.requests]
    assert again["operations"] == [first["operations"][0], first["operations"][2]]
    assert [result.status for result in found] == [204, 200, 404, 504]


@pytest.mark.parametrize("result", [UNKNOWN, REFUSED, MISSING, {"status": 500, "code": "internal"}])
def test_what_failed_for_good_is_not_sent_again(connect: Connect, result: dict[str, Any]) -> None:
    with serve(results(result | {"retry_after": 0}, DONE)) as server:
        found, _ = connect(server.url).batch([Put("a", "v"), Delete("b")])
        assert len(server.requests) == 1
    assert (found.ok, found.status, found.code) == (False, result["status"], result["code"])


def test_what_is_not_served_until_the_deadline_is_told(connect: Connect) -> None:
    with serve(results(DONE, BUSY_FOR_AN_HOUR)) as server:
        done, busy = connect(server.url).batch([Delete("a"), Delete("b")])
        assert len(server.requests) == 1
    assert done.ok
    assert (busy.status, busy.code, busy.retry_after) == (503, "overloaded", 3600)


@pytest.mark.parametrize(
    "second",
    [
        problem(429, "rate-limited", Retry_After="3600"),
        problem(503, "overloaded", Retry_After="3600"),
        problem(401, "unauthenticated"),
        problem(400, "invalid-request", {"index": 0}),
    ],
)
def test_results_are_not_lost_when_the_rest_is_refused(connect: Connect, second: bytes) -> None:
    with serve(results(DONE, BUSY), second) as server:
        done, busy = connect(server.url).batch([Delete("a"), Delete("b")])
        assert len(server.requests) == 2
    assert (done.status, busy.status) == (204, 503)


@pytest.mark.parametrize("second", [Cut(), problem(504, "outcome-unknown"), page(502), page(200)])
def test_results_are_not_lost_when_the_answer_to_the_rest_is(
    connect: Connect, second: bytes
) -> None:
    operations: list[Operation] = [Delete("a"), Put("b", "v"), Get("c")]
    with serve(results(DONE, BUSY, BUSY), second, results(READ, READ)) as server:
        done, lost, read = connect(server.url).batch(operations)
        assert len(server.requests) == 2
    assert (done.status, lost.status, lost.code) == (204, 504, "outcome-unknown")
    assert lost.detail
    # A read has no outcome that could be unknown.
    assert (read.status, read.code) == (503, "overloaded")


def test_a_batch_of_reads_is_a_read(connect: Connect) -> None:
    with serve(Cut(), page(502), problem(503, "overloaded"), results(READ, MISSING)) as server:
        read, missing = connect(server.url).batch([Get("a"), Get("b")])
        assert len(server.requests) == 4
    assert (read.status, missing.status) == (200, 404)


def test_an_atomic_batch_that_failed(connect: Connect) -> None:
    failed = {"status": 412, "code": "precondition-failed", "detail": "P", "etag": "17-3"}
    not_done = {"status": 424, "code": "not-done", "detail": "N"}
    members = {"results": [not_done, failed]}
    with serve(problem(409, "batch-failed", members)) as server, pytest.raises(BatchFailed) as got:
        connect(server.url).batch([Put("a", "v"), Put("b", "v")], atomic=True)
    for error in (got.value, pickle.loads(pickle.dumps(got.value))):
        assert (error.status, error.code, error.request_id) == (409, "batch-failed", "r-1")
        assert error.results == (
            Result(424, code="not-done", detail="N"),
            Result(412, code="precondition-failed", detail="P", etag="17-3"),
        )


@pytest.mark.parametrize("members", [{}, {"results": None}, {"results": [5]}, {"results": [{}]}])
def test_an_atomic_batch_that_failed_without_results(
    connect: Connect, members: dict[str, Any]
) -> None:
    with serve(problem(409, "batch-failed", members)) as server, pytest.raises(BatchFailed) as got:
        connect(server.url).batch([Delete("a")], atomic=True)
    assert got.value.results == ()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid-key", InvalidRequest),
        (400, "invalid-value", InvalidRequest),
        (413, "value-too-large", ValueTooLarge),
    ],
)
def test_a_mistake_in_an_operation(
    connect: Connect, status: int, code: str, kind: type[KvdError]
) -> None:
    with serve(problem(status, code, {"index": 1}), problem(status, code)) as server:
        client = connect(server.url)
        for index in (1, None):
            with pytest.raises(kind) as caught:
                client.batch([Delete("a"), Delete("b")])
            assert isinstance(caught.value, InvalidRequest | ValueTooLarge)
            assert (caught.value.status, caught.value.index) == (status, index)


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        (Get("\ud800"), "invalid-key"),
        (Put("k", "\ud800"), "invalid-value"),
        (Delete("k", if_match="\ud800"), "invalid-request"),
        (Get("k", if_none_match=["1-1", "\ud800"]), "invalid-request"),
        (Create("k", "v", ttl=0), "invalid-request"),
    ],
)
def test_what_cannot_be_sent_is_named(connect: Connect, mistake: Operation, code: str) -> None:
    with serve() as server:
        with pytest.raises(InvalidRequest) as caught:
            connect(server.url).batch([Get("a"), Get("b"), mistake])
        assert server.requests == []
    assert (caught.value.status, caught.value.code, caught.value.index) == (None, code, 2)


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        [],
        [DONE],
        [DONE, DONE, DONE],
        [DONE, {}],
        [DONE, None],
        [DONE, 5],
        [DONE, {"status": 200}],
        [DONE, {"status": 200, "item": {}}],
        [DONE, {"status": "gone"}],
        [DONE, {"status": 503, "retry_after": "soon"}],
    ],
)
def test_results_that_are_not_kvds(connect: Connect, found: object) -> None:
    strange = answer(207, json.dumps({"results": found}))
    with serve(strange, strange) as server:
        client = connect(server.url)
        with pytest.raises(OutcomeUnknown):
            client.batch([Delete("a"), Get("b")])
        with pytest.raises(KvdError) as caught:
            client.batch([Get("a"), Get("b")])
        assert type(caught.value) is KvdError


def test_operations_and_results_cannot_be_changed() -> None:
    values: list[Any] = [Get("k"), Create("k", "v"), Put("k", "v"), Delete("k"), Result(204)]
    for value in values:
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "other")
        assert pickle.loads(pickle.dumps(value)) == value
    assert len(set(values)) == len(values)
