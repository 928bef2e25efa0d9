"""What the client does when kvd refuses, fails, or is lost."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from servers import ITEM, Cut, answer, document, page, problem, results, run_kvd, serve

from kvd_client import (
    BatchFailed,
    DatabaseRefused,
    Delete,
    Forbidden,
    Get,
    InvalidRequest,
    KeyExists,
    KvdError,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Put,
    RateLimited,
    Unauthenticated,
    Unavailable,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Connect

    from kvd_client import Client

WRITES: dict[str, Callable[[Client], object]] = {
    "create": lambda client: client.create("k", "v"),
    "put": lambda client: client.put("k", "v"),
    "upsert": lambda client: client.put("k", "v", upsert=True),
    "put under a tag": lambda client: client.put("k", "v", if_match="1-1"),
    "delete": lambda client: client.delete("k"),
    "batch": lambda client: client.batch([Get("k"), Delete("l")]),
    "atomic batch": lambda client: client.batch([Put("k", "v"), Delete("l")], atomic=True),
    "put_many": lambda client: client.put_many({"k": "v"}),
    "delete_many": lambda client: client.delete_many(["k"]),
}
READ = {"status": 200, "item": document()}
SERVED = {
    "delete": answer(204),
    "create": ITEM.replace(b"200 OK", b"201 Created"),
    "batch": results(READ, {"status": 204}),
    "atomic batch": results(READ, {"status": 204}),
    "put_many": results(READ),
    "delete_many": results({"status": 204}),
}

every_write = pytest.mark.parametrize("write", WRITES)


# With a real kvd.


def test_a_quota_is_waited_out(connect: Connect, tmp_path: Path) -> None:
    with run_kvd(tmp_path, "--dev", "--rate-limit", "2", "--rate-limit-window", "1s") as url:
        client = connect(url)
        client.create("k", "v")
        for _ in range(3):
            client.get("k")


def test_a_quota_that_lasts_longer_than_the_deadline(connect: Connect, tmp_path: Path) -> None:
    with run_kvd(tmp_path, "--dev", "--rate-limit", "1", "--rate-limit-window", "600s") as url:
        client = connect(url)
        client.create("k", "v")
        for call in (client.get, client.delete):
            with pytest.raises(RateLimited) as caught:
                call("k")
            assert (caught.value.status, caught.value.code) == (429, "rate-limited")
            assert caught.value.retry_after is not None
            assert 500 < caught.value.retry_after <= 600


def test_a_database_that_is_not_migrated_is_unavailable(connect: Connect, tmp_path: Path) -> None:
    with run_kvd(tmp_path, "--database-url", "sqlite://kvd.db?mode=rwc") as url:
        client = connect(url)
        for call in (client.get, client.delete):
            with pytest.raises(Unavailable) as caught:
                call("k", deadline=1.0)
            assert (caught.value.status, caught.value.code) == (503, "database-unavailable")
            assert caught.value.retry_after == 1


def test_a_503_is_retried_until_the_database_is_there(connect: Connect, tmp_path: Path) -> None:
    database = ("--database-url", "sqlite://kvd.db?mode=rwc")
    with run_kvd(tmp_path, *database) as url, ThreadPoolExecutor() as threads:
        client = connect(url)
        created = threads.submit(client.create, "k", "v")
        with run_kvd(tmp_path, "--migrate", *database):
            assert created.result().version == 1


# With answers that kvd cannot be made to give at will.


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid-request", InvalidRequest),
        (400, "invalid-key", InvalidRequest),
        (400, "invalid-value", InvalidRequest),
        (401, "unauthenticated", Unauthenticated),
        (403, "forbidden", Forbidden),
        (404, "item-not-found", NotFound),
        (404, "route-not-found", KvdError),
        (405, "method-not-allowed", KvdError),
        (408, "request-timeout", KvdError),
        (409, "key-exists", KeyExists),
        (409, "batch-failed", BatchFailed),
        (412, "precondition-failed", PreconditionFailed),
        (413, "value-too-large", ValueTooLarge),
        (415, "unsupported-media-type", KvdError),
        (418, "not-yet-invented", KvdError),
        (500, "internal", OutcomeUnknown),
        (500, "database-refused", DatabaseRefused),
        (504, "outcome-unknown", OutcomeUnknown),
    ],
)
def test_every_problem_has_its_exception_and_is_not_retried(
    connect: Connect, status: int, code: str, kind: type[KvdError]
) -> None:
    with serve(problem(status, code), ITEM) as server:
        with pytest.raises(KvdError) as caught:
            connect(server.url).put("k", "v")
        assert server.methods == ["PUT"]
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.detail, error.request_id) == (status, code, "D", "r-1")
    assert str(error) == f"D [{status}, {code}, request r-1]"


@every_write
def test_a_504_of_a_write_is_never_retried(connect: Connect, write: str) -> None:
    with serve(problem(504, "outcome-unknown", Retry_After="0"), ITEM) as server:
        with pytest.raises(OutcomeUnknown):
            WRITES[write](connect(server.url))
        assert len(server.requests) == 1


@every_write
@pytest.mark.parametrize(
    "refusal",
    [
        problem(429, "rate-limited", Retry_After="0"),
        problem(503, "overloaded", Retry_After="0"),
        problem(503, "database-unavailable"),
        page(429),
    ],
)
def test_what_was_refused_is_sent_again_as_it_was(
    connect: Connect, write: str, refusal: bytes
) -> None:
    with serve(refusal, refusal, SERVED.get(write, ITEM)) as server:
        WRITES[write](connect(server.url))
        first, *others = server.requests
        assert others == [first, first]


@every_write
@pytest.mark.parametrize("received", [b"", b"HTTP/1", ITEM[:-1]])
def test_a_write_whose_answer_is_lost_is_never_sent_again(
    connect: Connect, write: str, received: bytes
) -> None:
    with serve(Cut(received), ITEM) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            WRITES[write](connect(server.url))
        assert len(server.requests) == 1
    error = caught.value
    assert (error.status, error.code, error.request_id) == (None, None, None)
    assert error.__cause__ is not None


def test_a_write_on_a_connection_that_was_used_before_is_never_sent_again(
    connect: Connect,
) -> None:
    with serve(ITEM, Cut(), ITEM) as server:
        client = connect(server.url)
        client.get("k")
        with pytest.raises(OutcomeUnknown):
            client.put("k", "v")
        assert server.methods == ["GET", "PUT"]


def test_a_write_that_is_not_answered_until_the_deadline(connect: Connect) -> None:
    with serve(None) as server:
        with pytest.raises(OutcomeUnknown):
            connect(server.url).put("k", "v", deadline=0.5)
        assert server.methods == ["PUT"]


def test_a_read_that_is_not_answered_until_the_deadline(connect: Connect) -> None:
    with serve(None) as server:
        with pytest.raises(Unavailable) as caught:
            connect(server.url).get("k", deadline=0.5)
        assert caught.value.status is None
        assert set(server.methods) == {"GET"}


def test_a_read_that_is_not_answered_is_sent_again(connect: Connect) -> None:
    with serve(None, ITEM) as server:
        assert connect(server.url, timeout=1.0).get("k").value == "v"
        assert server.methods == ["GET", "GET"]


def test_a_read_whose_answer_is_lost_is_sent_again(connect: Connect) -> None:
    with serve(Cut(), Cut(ITEM[:-1]), ITEM) as server:
        assert connect(server.url).get("k").value == "v"
        assert server.methods == ["GET", "GET", "GET"]


def test_a_lost_page_does_not_disturb_a_walk(connect: Connect) -> None:
    pages = [
        answer(200, json.dumps({"items": [document(key)], "next_cursor": cursor}))
        for key, cursor in (("a", "c 1/+"), ("b", None))
    ]
    with serve(pages[0], Cut(), page(502), problem(503, "overloaded"), pages[1]) as server:
        assert list(connect(server.url).keys("p&")) == ["a", "b"]
        first, *others = [request.target for request in server.requests]
    assert first == "/items/?prefix=p%26&page_size=100&keys_only=true&cursor="
    assert set(others) == {first + "c%201%2F%2B"}


@every_write
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_that_fails_leaves_a_write_unknown(
    connect: Connect, write: str, status: int
) -> None:
    with serve(page(status, Retry_After="0"), ITEM) as server:
        with pytest.raises(OutcomeUnknown) as caught:
            WRITES[write](connect(server.url))
        assert len(server.requests) == 1
    assert (caught.value.status, caught.value.code) == (status, None)


@pytest.mark.parametrize(
    "foreign",
    [
        answer(503, '{"code": "overloaded"}', "application/json"),
        problem(503, "no-code-of-kvd"),
        answer(503, "{}", "application/problem+json"),
    ],
)
def test_a_503_that_is_not_kvds_promises_nothing(connect: Connect, foreign: bytes) -> None:
    with serve(foreign, ITEM, foreign, ITEM) as server:
        client = connect(server.url)
        with pytest.raises(OutcomeUnknown):
            client.put("k", "w")
        assert server.methods == ["PUT"]
        server.answers.popleft()
        assert client.get("k").value == "v"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_fails_is_asked_again_for_a_read(connect: Connect, status: int) -> None:
    with serve(page(status), page(status, Retry_After="0"), ITEM) as server:
        assert connect(server.url).get("k").value == "v"


@pytest.mark.parametrize("status", [301, 401, 403, 404, 409, 412, 500, 501])
def test_a_proxy_that_refuses_a_read(connect: Connect, status: int) -> None:
    with serve(page(status, Location="/items/k"), ITEM) as server:
        with pytest.raises(KvdError, match=f"{status} .* is no answer of kvd") as caught:
            connect(server.url).get("k")
        assert server.methods == ["GET"]
    assert type(caught.value) is KvdError
    assert (caught.value.status, caught.value.code) == (status, None)


def test_a_proxy_that_takes_less_than_kvd(connect: Connect) -> None:
    with serve(page(413)) as server, pytest.raises(ValueTooLarge):
        connect(server.url).put("k", "v")


@pytest.mark.parametrize(
    "stranger", [page(200), answer(200, "{}"), answer(200, "[]"), answer(200, "null")]
)
def test_a_stranger_that_answers_200(connect: Connect, stranger: bytes) -> None:
    for call in WRITES.values():
        with serve(stranger) as server, pytest.raises(OutcomeUnknown):
            call(connect(server.url))
    with serve(stranger, stranger, stranger) as server:
        client = connect(server.url)
        for read in (client.get, client.count, lambda prefix: list(client.items(prefix))):
            with pytest.raises(KvdError) as caught:
                read("k")
            assert type(caught.value) is KvdError


@pytest.mark.parametrize("body", ["", "{", "[]", "null"])
def test_a_problem_document_that_is_none(connect: Connect, body: str) -> None:
    none = answer(404, body, "application/problem+json")
    with serve(none) as server, pytest.raises(KvdError) as caught:
        connect(server.url).get("k")
    assert type(caught.value) is KvdError


def test_the_current_tag_when_a_proxy_has_weakened_it(connect: Connect) -> None:
    failed = problem(412, "precondition-failed", ETag='W/"1-7"')
    with serve(failed) as server, pytest.raises(PreconditionFailed) as caught:
        connect(server.url).put("k", "v", if_match="1-6")
    assert caught.value.etag == "1-7"


def test_a_wait_longer_than_the_deadline_is_not_begun(connect: Connect) -> None:
    in_an_hour = format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)
    for retry_after in ("3600", in_an_hour):
        refusals = (
            problem(429, "rate-limited", Retry_After=retry_after),
            problem(503, "overloaded", Retry_After=retry_after),
        )
        with serve(*refusals) as server:
            client = connect(server.url)
            with pytest.raises(RateLimited) as limited:
                client.put("k", "v")
            with pytest.raises(Unavailable) as unavailable:
                client.get("k")
            assert server.methods == ["PUT", "GET"]
        for caught in (limited.value.retry_after, unavailable.value.retry_after):
            assert caught is not None
            assert 3500 < caught <= 3600


@pytest.mark.parametrize("retry_after", ["soon", "-1", "", "1e9", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing(connect: Connect, retry_after: str) -> None:
    with serve(problem(503, "overloaded", Retry_After=retry_after), ITEM) as server:
        assert connect(server.url).put("k", "v").value == "v"


@every_write
def test_after_the_deadline_nothing_is_sent(connect: Connect, write: str) -> None:
    with serve(ITEM) as server:
        with pytest.raises(Unavailable, match="deadline has passed"):
            WRITES[write](connect(server.url, deadline=0))
        assert server.requests == []


@every_write
def test_a_write_that_could_not_be_sent_is_unavailable(connect: Connect, write: str) -> None:
    with refusing_port() as port, pytest.raises(Unavailable) as caught:
        WRITES[write](connect(f"http://127.0.0.1:{port}", deadline=0.2))
    assert caught.value.status is None
    assert caught.value.__cause__ is not None


@every_write
def test_a_write_waits_for_a_server_that_is_not_there_yet(connect: Connect, write: str) -> None:
    with refusing_port() as port, ThreadPoolExecutor() as threads:
        written = threads.submit(WRITES[write], connect(f"http://127.0.0.1:{port}"))
        assert not wait([written], timeout=0.1).done
        with serve(SERVED.get(write, ITEM), port=port) as server:
            written.result()
            assert len(server.requests) == 1


def test_an_update_whose_answer_is_lost_is_not_begun_again(connect: Connect) -> None:
    with serve(ITEM, Cut(), ITEM, ITEM) as server:
        with pytest.raises(OutcomeUnknown):
            connect(server.url).update("k", str.upper)
        assert server.methods == ["GET", "PUT"]
        assert server.requests[1].headers["if-match"] == '"1-1"'


@contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections and that no other program takes, until ours listens there."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
