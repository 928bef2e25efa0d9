"""What can be done with items, against a real kvd."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from kvd_client import (
    Client,
    InvalidRequest,
    KeyExists,
    NotFound,
    PreconditionFailed,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Connect

ODD = ["a/b", "/", "//", "?", "a?b=c", "#", "%", "%2F", "%2e%2e", "+", " ", "  a ", "...", "..a"]
ODD += [".a", "../a", "a/..", "é", "e\u0301", "🙂", "'\"`", "\\", ";", "&=", "*", "~", "\u0080"]


def test_an_item_is_created_read_and_deleted(client: Client, key: str) -> None:
    item = client.create(key, "value")
    assert (item.key, item.value, item.version) == (key, "value", 1)
    assert item.created_at == item.updated_at
    assert item.created_at.utcoffset() == timedelta(0)
    assert client.get(key) == item
    client.delete(key)
    with pytest.raises(NotFound):
        client.get(key)


def test_a_key_is_created_once(client: Client, key: str) -> None:
    client.create(key, "first")
    with pytest.raises(KeyExists) as caught:
        client.create(key, "second")
    assert (caught.value.status, caught.value.code) == (409, "key-exists")
    assert client.get(key).value == "first"


def test_what_does_not_exist_is_not_found(client: Client, key: str) -> None:
    with pytest.raises(NotFound) as caught:
        client.get(key)
    assert (caught.value.status, caught.value.code) == (404, "item-not-found")
    assert caught.value.detail
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    with pytest.raises(NotFound):
        client.put(key, "value")
    with pytest.raises(NotFound):
        client.put(key, "value", if_match="1-1")
    with pytest.raises(NotFound):
        client.delete(key)


def test_put_updates(client: Client, key: str) -> None:
    created = client.create(key, "first")
    updated = client.put(key, "second")
    assert (updated.value, updated.version) == ("second", 2)
    assert updated.created_at == created.created_at
    assert updated.etag != created.etag


def test_put_with_upsert_creates_and_updates(client: Client, key: str) -> None:
    assert client.put(key, "first", upsert=True).version == 1
    assert client.put(key, "second", upsert=True).version == 2


def test_put_with_create_only_never_updates(client: Client, key: str) -> None:
    created = client.put(key, "first", create_only=True)
    assert created.version == 1
    with pytest.raises(PreconditionFailed) as caught:
        client.put(key, "second", create_only=True)
    assert (caught.value.status, caught.value.code) == (412, "precondition-failed")
    assert caught.value.etag == created.etag
    assert client.get(key) == created


def test_put_under_a_tag_updates_only_that_state(client: Client, key: str) -> None:
    first = client.create(key, "first")
    second = client.put(key, "second", if_match=first.etag)
    with pytest.raises(PreconditionFailed) as caught:
        client.put(key, "third", if_match=first.etag)
    assert caught.value.etag == second.etag
    assert client.get(key) == second


def test_upsert_under_a_tag_creates_nothing(client: Client, key: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        client.put(key, "value", upsert=True, if_match="1-1")
    assert caught.value.etag is None


def test_delete_under_a_tag_deletes_only_that_state(client: Client, key: str) -> None:
    first = client.create(key, "first")
    second = client.put(key, "second")
    with pytest.raises(PreconditionFailed) as caught:
        client.delete(key, if_match=first.etag)
    assert caught.value.etag == second.etag
    client.delete(key, if_match=second.etag)
    assert client.count(key) == 0


def test_what_is_no_tag_is_refused_before_it_is_sent(client: Client, key: str) -> None:
    for etag in ('"1-1"', "1-1\r\nX: y", "é", "1 1"):
        with pytest.raises(InvalidRequest, match="no etag"):
            client.put(key, "value", if_match=etag)


@pytest.mark.parametrize("odd", ODD)
def test_any_key_is_one_segment_of_the_path(client: Client, odd: str) -> None:
    created = client.put(odd, "value", upsert=True)
    assert created.key == odd
    assert client.get(odd) == created
    assert odd in list(client.keys(odd))
    client.delete(odd)
    assert client.create(odd, "again").key == odd
    client.delete(odd)
    assert odd not in list(client.keys(odd))


@pytest.mark.parametrize(
    "value", ["", " ", "\n", "\\ud800", "é🙂\u2028", '{"a": 1}', "x" * 262_144]
)
def test_a_value_comes_back_as_it_was(client: Client, key: str, value: str) -> None:
    assert client.create(key, value).value == value
    assert client.get(key).value == value


@pytest.mark.parametrize("no_key", ["", ".", ".."])
def test_what_would_be_another_path_is_no_key(client: Client, no_key: str) -> None:
    for call in (client.get, client.delete, lambda key: client.put(key, "value")):
        with pytest.raises(InvalidRequest) as caught:
            call(no_key)
        assert caught.value.code == "invalid-key"
    with pytest.raises(InvalidRequest) as caught:
        client.create(no_key, "value")
    assert caught.value.code == "invalid-key"


@pytest.mark.parametrize("no_key", ["\x00", "a\nb", "\x7f", "x" * 513])
def test_kvd_says_what_is_no_key(client: Client, no_key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.get(no_key)
    assert (caught.value.status, caught.value.code) == (400, "invalid-key")


def test_surrogates_are_refused(client: Client, key: str) -> None:
    with pytest.raises(InvalidRequest, match="value has a surrogate at 1") as caught:
        client.create(key, "a\ud800")
    assert (caught.value.status, caught.value.code) == (None, "invalid-value")
    with pytest.raises(InvalidRequest, match="key has a surrogate at 0") as caught:
        client.get("\udfff")
    assert caught.value.code == "invalid-key"
    with pytest.raises(InvalidRequest, match="prefix has a surrogate at 0") as caught:
        client.count("\udfff")
    assert caught.value.code == "invalid-request"


def test_a_value_without_nul(client: Client, key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.create(key, "a\x00b")
    assert (caught.value.status, caught.value.code) == (400, "invalid-value")


@pytest.mark.parametrize("size", [262_145, 1_000_000])
def test_a_value_that_is_too_large(client: Client, key: str, size: int) -> None:
    with pytest.raises(ValueTooLarge) as caught:
        client.create(key, "x" * size)
    assert (caught.value.status, caught.value.code) == (413, "value-too-large")


def test_keys_and_items_of_a_prefix_in_the_order_of_their_bytes(client: Client, key: str) -> None:
    created = {
        key + end: client.create(key + end, end) for end in ("é", "b", "a/c", "B", "a", "🙂")
    }
    ordered = sorted(created, key=str.encode)
    for page_size in (1, 2, 6, 100):
        assert list(client.keys(key, page_size=page_size)) == ordered
        assert list(client.items(key, page_size=page_size)) == [created[each] for each in ordered]
    assert client.count(key) == 6
    assert list(client.keys(f"{key}a")) == [f"{key}a", f"{key}a/c"]


def test_nothing_begins_with_this_prefix(client: Client, key: str) -> None:
    assert list(client.keys(key)) == []
    assert list(client.items(key)) == []
    assert client.count(key) == 0


def test_items_may_be_deleted_while_their_keys_are_walked(client: Client, key: str) -> None:
    for number in range(10):
        client.create(f"{key}{number}", "")
    for each in client.keys(key, page_size=3):
        client.delete(each)
    assert client.count(key) == 0


def test_a_walk_without_a_prefix_sees_everything(connect: Connect, own_kvd: str) -> None:
    client = connect(own_kvd)
    for number in range(3):
        client.create(f"{number}", "")
    assert list(client.keys()) == ["0", "1", "2"]
    assert client.count() == 3
    assert [item.key for item in islice(client.items(page_size=1), 2)] == ["0", "1"]


def test_kvd_says_what_is_no_page_size(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        list(client.keys(page_size=101))
    assert (caught.value.status, caught.value.code) == (400, "invalid-request")


def test_update_applies_a_function(client: Client, key: str) -> None:
    client.create(key, "a")
    assert client.update(key, lambda value: value + "b").value == "ab"
    assert client.get(key).version == 2


def test_update_of_a_missing_item(client: Client, key: str) -> None:
    with pytest.raises(NotFound):
        client.update(key, str.upper)
    created = client.update(key, str.upper, default="a")
    assert (created.value, created.version) == ("A", 1)
    assert client.update(key, lambda value: value + "b", default="c").value == "Ab"


def test_update_passes_on_what_the_function_raises(client: Client, key: str) -> None:
    created = client.create(key, "no number")
    with pytest.raises(ValueError, match="no number"):
        client.update(key, lambda value: str(int(value) + 1))
    assert client.get(key) == created


@pytest.mark.parametrize(
    ("before", "meanwhile", "seen", "after"),
    [
        ("a", lambda other, key: other.put(key, "b"), ["a", "b"], "b!"),
        ("a", lambda other, key: other.delete(key), ["a", "default"], "default!"),
        (None, lambda other, key: other.create(key, "b"), ["default", "b"], "b!"),
    ],
)
def test_update_starts_again_when_somebody_else_was_faster(
    client: Client,
    kvd: str,
    key: str,
    before: str | None,
    meanwhile: Callable[[Client, str], object],
    seen: list[str],
    after: str,
) -> None:
    if before is not None:
        client.create(key, before)
    values: list[str] = []

    def function(value: str) -> str:
        if not values:
            with Client(kvd) as other:
                meanwhile(other, key)
        values.append(value)
        return value + "!"

    assert client.update(key, function, default="default").value == after
    assert values == seen


def test_update_gives_up_when_the_deadline_leaves_no_time(
    client: Client, kvd: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda *_: 60.0)
    client.create(key, "")
    with Client(kvd) as other, pytest.raises(PreconditionFailed):
        client.update(key, lambda value: other.put(key, value).value)


def test_no_update_is_lost_among_threads(client: Client, key: str) -> None:
    def count(_: int) -> None:
        client.update(key, lambda value: str(int(value) + 1), default="0")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(count, range(20)))
    assert (client.get(key).value, client.get(key).version) == ("20", 20)


def test_of_those_who_write_under_the_same_tag_one_wins(client: Client, key: str) -> None:
    first = client.create(key, "")

    def write(number: int) -> str | None:
        try:
            return client.put(key, str(number), if_match=first.etag).etag
        except PreconditionFailed as error:
            return error.etag

    with ThreadPoolExecutor(4) as threads:
        etags = set(threads.map(write, range(8)))
    last = client.get(key)
    assert last.version == 2
    assert etags == {last.etag}
