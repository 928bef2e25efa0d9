"""Items that expire."""

from __future__ import annotations

import itertools
import json
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from servers import ITEM, answer, document, problem, serve

from kvd_client import Client, Create, InvalidRequest, NotFound, PreconditionFailed, Put

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Connect

MINUTE = timedelta(minutes=1)
EAST = timezone(timedelta(hours=5, minutes=45))
LATER = datetime(2999, 12, 31, 23, 59, 59, 123_456, tzinfo=EAST)
END = "2999-12-31T18:14:59.123456Z"

WRITES: dict[str, Callable[..., object]] = {
    "create": lambda client, **end: client.create("k", "v", **end),
    "put": lambda client, **end: client.put("k", "v", **end),
    "batch": lambda client, **end: client.batch([Put("k", "v", **end)]),
    "batch of a create": lambda client, **end: client.batch([Create("k", "v", **end)]),
    "put_many": lambda client, **end: client.put_many({"k": "v"}, **end),
}
every_write = pytest.mark.parametrize("write", WRITES)


# With a real kvd.


@pytest.mark.parametrize("ttl", [60, MINUTE])
def test_an_item_expires_so_long_after_it_was_written(
    client: Client, key: str, ttl: int | timedelta
) -> None:
    item = client.create(key, "v", ttl=ttl)
    assert about_a_minute(item.created_at, item.expires_at)
    assert client.get(key) == item
    assert list(client.items(key)) == [item]
    put = client.put(key, "w", ttl=ttl)
    assert about_a_minute(put.updated_at, put.expires_at)
    upserted = client.put(f"{key}2", "w", ttl=ttl, upsert=True)
    assert about_a_minute(upserted.created_at, upserted.expires_at)


def about_a_minute(written: datetime, expires: datetime | None) -> bool:
    """Whether it is, though written and read from the clock one after the other."""
    return expires is not None and abs(expires - written - MINUTE) < timedelta(seconds=30)


def test_an_item_expires_at_a_time_of_any_zone(client: Client, key: str) -> None:
    item = client.create(key, "v", expires_at=LATER)
    assert item.expires_at == LATER
    assert item.expires_at.utcoffset() == timedelta(0)
    at_another = LATER + timedelta(days=1)
    assert client.put(key, "w", expires_at=at_another).expires_at == at_another


def test_an_item_lasts_for_ever_unless_it_is_told(client: Client, key: str) -> None:
    assert client.create(key, "v").expires_at is None
    assert client.put(key, "v", keep_ttl=True).expires_at is None
    item = client.put(key, "v", ttl=60)
    assert item.expires_at is not None
    kept = client.put(key, "w", keep_ttl=True)
    assert (kept.value, kept.expires_at) == ("w", item.expires_at)
    assert client.put(key, "x").expires_at is None


def test_an_update_keeps_when_an_item_expires(client: Client, key: str) -> None:
    item = client.create(key, "v", expires_at=LATER)
    updated = client.update(key, str.upper)
    assert (updated.value, updated.expires_at) == ("V", LATER)
    assert updated.etag != item.etag
    assert client.update(f"{key}2", str.upper, default="v").expires_at is None
    assert client.update(f"{key}2", str.lower).expires_at is None


def test_what_has_expired_is_gone_and_another_item_may_come(client: Client, key: str) -> None:
    gone = client.create(key, "v", ttl=1)
    for _ in itertools.count():
        try:
            client.get(key)
        except NotFound:
            break
        time.sleep(0.05)
    assert list(client.keys(key)) == []
    with pytest.raises(NotFound):
        client.put(key, "w", keep_ttl=True)
    created = client.update(key, str.upper, default="w")
    assert (created.value, created.version, created.expires_at) == ("W", 1, None)
    with pytest.raises(PreconditionFailed):
        client.put(key, "x", if_match=gone.etag)


@pytest.mark.parametrize(
    "end",
    [
        {"expires_at": datetime(2001, 1, 1, tzinfo=timezone.utc)},
        {"ttl": 60, "expires_at": LATER},
        {"ttl": 60, "keep_ttl": True},
        {"ttl": 1.5},
    ],
    ids="+".join,
)
def test_kvd_says_what_is_no_end(client: Client, key: str, end: dict[str, Any]) -> None:
    item = client.create(key, "v")
    with pytest.raises(InvalidRequest) as caught:
        client.put(key, "w", **end)
    assert (caught.value.status, caught.value.code) == (400, "invalid-request")
    assert client.get(key) == item


# Without one.


@every_write
@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"ttl": 0}, "whole seconds"),
        ({"ttl": -1}, "whole seconds"),
        ({"ttl": 3_153_600_001}, "whole seconds"),
        ({"ttl": 10**5_000}, "whole seconds"),
        ({"ttl": float("nan")}, "whole seconds"),
        ({"ttl": timedelta()}, "whole seconds"),
        ({"ttl": timedelta(milliseconds=1_500)}, "whole seconds"),
        ({"ttl": timedelta.max}, "whole seconds"),
        ({"expires_at": datetime(2999, 1, 1)}, "no time zone"),
        ({"expires_at": datetime.max.replace(tzinfo=timezone(-MINUTE))}, "no year"),
    ],
)
def test_an_end_that_is_none_is_not_sent(
    connect: Connect, write: str, end: dict[str, Any], why: str
) -> None:
    with serve(ITEM) as server:
        with pytest.raises(InvalidRequest, match=why) as caught:
            WRITES[write](connect(server.url), **end)
        assert server.requests == []
    assert (caught.value.status, caught.value.code) == (None, "invalid-request")


@every_write
@pytest.mark.parametrize(
    ("end", "member", "sent"),
    [
        ({"ttl": 1}, "ttl", 1),
        ({"ttl": 3_153_600_000}, "ttl", 3_153_600_000),
        ({"ttl": timedelta(days=36_500)}, "ttl", 3_153_600_000),
        ({"expires_at": LATER}, "expires_at", END.replace("Z", "+00:00")),
        ({"expires_at": datetime.max.replace(tzinfo=EAST)}, "expires_at", None),
    ],
)
def test_an_end_as_it_is_sent(
    connect: Connect, write: str, end: dict[str, Any], member: str, sent: object
) -> None:
    with serve(problem(400, "invalid-request")) as server:
        with pytest.raises(InvalidRequest):
            WRITES[write](connect(server.url), **end)
        body = json.loads(server.requests[0].body)
    (operation,) = body.get("operations", [body])
    if sent is None:
        assert datetime.fromisoformat(operation[member]) == end[member]
    else:
        assert operation[member] == sent
    assert {"ttl", "expires_at", "keep_ttl"} & set(operation) == {member}


def test_that_an_end_is_kept_is_asked_in_the_query(connect: Connect) -> None:
    with serve(ITEM, ITEM, ITEM) as server:
        client = connect(server.url)
        client.put("k", "v")
        client.put("k", "v", keep_ttl=True)
        client.put("k", "v", keep_ttl=True, upsert=True)
        targets = [request.target for request in server.requests]
    query = "?upsert=true&keep_ttl=true"
    assert targets == ["/items/k", "/items/k?keep_ttl=true", f"/items/k{query}"]


def test_a_kvd_that_does_not_know_expiry_is_not_asked_for_it(connect: Connect) -> None:
    old = document()
    del old["expires_at"]
    read = answer(200, json.dumps(old))
    with serve(read, read) as server:
        assert connect(server.url).update("k", str.upper).expires_at is None
        assert server.requests[1].target == "/items/k"
    read = answer(200, json.dumps(document(expires_at=END)))
    with serve(read, read) as server:
        assert connect(server.url).update("k", str.upper).expires_at == LATER
        assert server.requests[1].target == "/items/k?keep_ttl=true"
