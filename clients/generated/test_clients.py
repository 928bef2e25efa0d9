"""The clients that generators make of the document, against a real kvd."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kvd_generated import AuthenticatedClient, Client
from kvd_generated.api.access import whoami
from kvd_generated.api.items import batch, create_item, delete_item, get_item, list_items, update_item
from kvd_generated.models import (
    Access,
    BatchResults,
    Identity,
    Item,
    NewBatch,
    NewItem,
    NewValue,
    Operation,
    OperationName,
    Page,
    Problem,
    ProblemCode,
)
from servers import GuardedKvd, run_guarded_kvd, run_kvd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvd_generated.types import Response


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_kvd(tmp_path_factory.mktemp("kvd"), "--dev", "--rate-limit", "0") as url:
        yield url


@pytest.fixture
def limited_url(tmp_path: Path) -> Iterator[str]:
    """Three requests, and no more."""
    with run_kvd(tmp_path, "--dev", "--rate-limit", "3") as url:
        yield url


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKvd]:
    """It has the item `app/k`."""
    with run_guarded_kvd(tmp_path_factory.mktemp("kvd")) as kvd:
        token = kvd.create_token("writer", "--write", "app/")
        with AuthenticatedClient(base_url=kvd.url, token=token) as client:
            created = create_item.sync(client=client, body=NewItem(key="app/k", value="v"))
            assert isinstance(created, Item)
        yield kvd


@pytest.fixture(scope="module")
def reader_token(guarded: GuardedKvd) -> str:
    """It may read below `app/`, and do nothing else."""
    return guarded.create_token("reader", "--read", "app/", "--expires-in", "1d")


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        yield client


def create(client: Client, key: str, value: str) -> Item:
    created = create_item.sync(client=client, body=NewItem(key=key, value=value))
    assert isinstance(created, Item)
    return created


def assert_problem(response: Response[Any], status: int, code: ProblemCode) -> Problem:
    problem = response.parsed
    assert response.status_code == status
    assert isinstance(problem, Problem)
    assert problem.status == status
    assert problem.code is code
    assert problem.title
    assert problem.detail
    return problem


@pytest.mark.parametrize("key", ["py", "py/a%2Fb é", "py ?&=#"])
def test_an_item_is_created_read_updated_under_its_tag_and_deleted(client: Client, key: str) -> None:
    created = create(client, key, "one")
    read = get_item.sync(key, client=client)
    assert isinstance(read, Item)
    assert (read.value, read.version, read.created_at.utcoffset()) == ("one", 1, created.created_at.utcoffset())
    updated = update_item.sync(key, client=client, body=NewValue(value="two"), if_match=f'"{created.etag}"')
    assert isinstance(updated, Item)
    assert (updated.value, updated.version) == ("two", 2)
    deleted = delete_item.sync_detailed(key, client=client)
    assert (deleted.status_code, deleted.parsed) == (204, None)


def test_a_walk_by_cursor_sees_every_item_once(client: Client) -> None:
    keys = [f"walk-py-{n:02}" for n in range(25)]
    for key in keys:
        create(client, key, "")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = list_items.sync(client=client, prefix="walk-py-", cursor=cursor)
        assert isinstance(page, Page)
        assert page.total is None
        seen += [item.key for item in page.items]
        cursor = page.next_cursor
    assert seen == keys


def test_an_item_tells_when_it_expires(client: Client) -> None:
    created = create_item.sync(client=client, body=NewItem(key="ttl-py", value="", ttl=3600))
    assert isinstance(created, Item)
    assert created.expires_at is not None
    for_ever = update_item.sync("ttl-py", client=client, body=NewValue(value=""))
    assert isinstance(for_ever, Item)
    assert for_ever.expires_at is None


def test_a_batch_has_a_result_of_each_operation(client: Client) -> None:
    put = Operation(op=OperationName.PUT, key="batch-py", value="v", upsert=True, ttl=3600)
    get = Operation(op=OperationName.GET, key="no such key")
    done = batch.sync(client=client, body=NewBatch(operations=[put, get]))
    assert isinstance(done, BatchResults)
    assert [result.status for result in done.results] == [201, 404]
    stored, missing = done.results
    assert isinstance(stored.item, Item)
    assert stored.item.expires_at is not None
    assert missing.code is ProblemCode.ITEM_NOT_FOUND

    delete = Operation(op=OperationName.DELETE, key="batch-py", if_match=[stored.item.etag, "1-1"])
    failed = batch.sync(client=client, body=NewBatch(atomic=True, operations=[delete, get]))
    assert isinstance(failed, Problem)
    assert isinstance(failed.results, list)
    assert [result.code for result in failed.results] == [ProblemCode.NOT_DONE, ProblemCode.ITEM_NOT_FOUND]
    mistaken = batch.sync(client=client, body=NewBatch(operations=[get, get]))
    assert isinstance(mistaken, Problem)
    assert mistaken.index == 1
    done = batch.sync(client=client, body=NewBatch(atomic=True, operations=[delete]))
    assert isinstance(done, BatchResults)
    assert [result.status for result in done.results] == [204]


def test_every_error_is_a_problem_document(client: Client) -> None:
    item = create(client, "errors-py", "one")
    conflict = create_item.sync_detailed(client=client, body=NewItem(key="errors-py", value=""))
    assert_problem(conflict, 409, ProblemCode.KEY_EXISTS)
    missing = get_item.sync_detailed("no such key", client=client)
    assert_problem(missing, 404, ProblemCode.ITEM_NOT_FOUND)
    failed = update_item.sync_detailed("errors-py", client=client, body=NewValue(value=""), if_match='"0-0"')
    assert_problem(failed, 412, ProblemCode.PRECONDITION_FAILED)
    assert failed.headers["ETag"] == f'"{item.etag}"'
    invalid = list_items.sync_detailed(client=client, page_size=101)
    assert_problem(invalid, 400, ProblemCode.INVALID_REQUEST)
    large = create_item.sync_detailed(client=client, body=NewItem(key="a", value="x" * 262_145))
    assert_problem(large, 413, ProblemCode.VALUE_TOO_LARGE)


def test_a_refusal_of_the_limiter_says_when_to_come_back(limited_url: str) -> None:
    with Client(base_url=limited_url) as client:
        for _ in range(3):
            assert isinstance(list_items.sync(client=client), Page)
        refused = list_items.sync_detailed(client=client)
    problem = assert_problem(refused, 429, ProblemCode.RATE_LIMITED)
    assert problem.violated_policies == ["default"]
    assert refused.headers["Retry-After"] == str(problem.retry_after)


def test_a_token_is_sent_and_says_what_it_may_do(guarded: GuardedKvd, reader_token: str) -> None:
    with AuthenticatedClient(base_url=guarded.url, token=reader_token, raise_on_unexpected_status=True) as reader:
        item = get_item.sync("app/k", client=reader)
        assert isinstance(item, Item)
        assert item.value == "v"
        identity = whoami.sync(client=reader)
    assert isinstance(identity, Identity)
    assert identity.name == "reader"
    assert [(rule.prefix, rule.access) for rule in identity.rules] == [("app/", Access.READ)]
    assert identity.expires_at is not None
    assert identity.expires_at > datetime.now(UTC)


def test_where_no_token_is_asked_for_everything_may_be_written(client: Client) -> None:
    identity = whoami.sync(client=client)
    assert isinstance(identity, Identity)
    assert (identity.name, identity.expires_at) == (None, None)
    assert [(rule.prefix, rule.access) for rule in identity.rules] == [("", Access.WRITE)]


def test_what_no_token_and_another_token_may_not_do_is_a_problem_document(
    guarded: GuardedKvd, reader_token: str
) -> None:
    with Client(base_url=guarded.url, raise_on_unexpected_status=True) as stranger:
        for refused in (get_item.sync_detailed("app/k", client=stranger), whoami.sync_detailed(client=stranger)):
            assert_problem(refused, 401, ProblemCode.UNAUTHENTICATED)
            assert refused.headers["WWW-Authenticate"] == "Bearer"
    with AuthenticatedClient(base_url=guarded.url, token=reader_token, raise_on_unexpected_status=True) as reader:
        written = update_item.sync_detailed("app/k", client=reader, body=NewValue(value="w"))
        outside = get_item.sync_detailed("other", client=reader)
        walked = list_items.sync_detailed(client=reader, prefix="")
    for response in (written, outside, walked):
        assert_problem(response, 403, ProblemCode.FORBIDDEN)


def test_the_typescript_client_does_the_same(
    url: str, limited_url: str, guarded: GuardedKvd, reader_token: str
) -> None:
    test = Path(os.environ["GENERATED"]) / "built/client.test.js"
    environment = os.environ | {
        "KVD_URL": url,
        "KVD_LIMITED_URL": limited_url,
        "KVD_GUARDED_URL": guarded.url,
        "KVD_READER_TOKEN": reader_token,
    }
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", str(test)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 7" in done.stdout, done.stdout
