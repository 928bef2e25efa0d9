"""Clients with a token: what it may do, whose it is, and that nobody else is told."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import ssl
import subprocess
import traceback
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import httpx
import pytest
from servers import ITEM, Cut, GuardedKvd, answer, page, problem, run_guarded_kvd, serve

from kvd_client import (
    AsyncClient,
    Client,
    Delete,
    Forbidden,
    Get,
    Identity,
    InvalidRequest,
    KvdError,
    NotFound,
    Rule,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Connect

SECRET = "kvd_0123456789abcdefghijklmnopqrstuvwxyz"

READS: dict[str, Callable[[Client, str], object]] = {
    "get": lambda client, key: client.get(key),
    "keys": lambda client, key: list(client.keys(key)),
    "items": lambda client, key: list(client.items(key)),
    "count": lambda client, key: client.count(key),
    "batch of reads": lambda client, key: client.batch([Get(key)]),
    "get_many": lambda client, key: client.get_many([key]),
}
WRITES: dict[str, Callable[[Client, str], object]] = {
    "create": lambda client, key: client.create(key, "v"),
    "put": lambda client, key: client.put(key, "v"),
    "upsert": lambda client, key: client.put(key, "v", upsert=True),
    "update": lambda client, key: client.update(key, str.upper),
    "delete": lambda client, key: client.delete(key),
    "batch": lambda client, key: client.batch([Get(key), Delete(f"{key}/")]),
    "put_many": lambda client, key: client.put_many({key: "v"}),
    "delete_many": lambda client, key: client.delete_many([key]),
}
CALLS: dict[str, Callable[[Client, str], object]] = {
    **READS,
    **WRITES,
    "whoami": lambda client, _: client.whoami(),
}

EVERYTHING = Rule("", "write")
IDENTITY = answer(
    200,
    json.dumps({"name": "app", "rules": [{"prefix": "", "access": "write"}], "expires_at": None}),
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKvd]:
    with run_guarded_kvd(tmp_path_factory.mktemp("kvd")) as kvd:
        yield kvd


@pytest.fixture(scope="module")
def writer_token(guarded: GuardedKvd) -> str:
    return guarded.create_token("writer", "--write", "")


@pytest.fixture(scope="module")
def reader_token(guarded: GuardedKvd) -> str:
    return guarded.create_token("reader", "--read", "")


@pytest.fixture(scope="module")
def app_token(guarded: GuardedKvd) -> str:
    rules = ("--write", "app/", "--read", "shared/")
    return guarded.create_token("app", *rules, "--expires-in", "90d")


@pytest.fixture
def writer(connect: Connect, guarded: GuardedKvd, writer_token: str) -> Client:
    return connect(guarded.url, token=writer_token)


@pytest.fixture
def reader(connect: Connect, guarded: GuardedKvd, reader_token: str) -> Client:
    return connect(guarded.url, token=reader_token)


@pytest.fixture
def app(connect: Connect, guarded: GuardedKvd, app_token: str) -> Client:
    return connect(guarded.url, token=app_token)


# What a token may do, with a real kvd.


def test_a_token_of_everything_may_do_everything(writer: Client, key: str) -> None:
    created = writer.create(key, "a")
    assert writer.get(key) == created
    assert writer.put(key, "b", if_match=created.etag).version == 2
    updated = writer.update(key, str.upper)
    assert updated.value == "B"
    assert list(writer.keys(key)) == [key]
    assert list(writer.items(key)) == [updated]
    assert writer.count(key) == 1
    writer.delete(key)
    assert key not in list(writer.keys())


def test_a_token_that_may_read(writer: Client, reader: Client, key: str) -> None:
    item = writer.create(key, "v")
    assert reader.get(key) == item
    assert list(reader.keys(key)) == [key]
    assert list(reader.items(key)) == [item]
    assert reader.count(key) == 1
    for write in WRITES.values():
        with pytest.raises(Forbidden):
            write(reader, key)
    assert writer.get(key) == item


def test_a_token_of_a_prefix_inside_it(app: Client, key: str) -> None:
    inside = [f"app/{key}{number}" for number in range(5)]
    for each in inside:
        app.create(each, "v")
    assert list(app.keys(f"app/{key}", page_size=2)) == inside
    assert [item.key for item in app.items(f"app/{key}", page_size=2)] == inside
    assert set(inside) <= set(app.keys("app/"))
    assert app.count(f"app/{key}") == 5
    app.put(inside[0], "w")
    app.update(inside[0], str.upper)
    app.delete(inside[0])
    with pytest.raises(NotFound):
        app.get(inside[0])
    assert app.count(f"shared/{key}") == 0


@pytest.mark.parametrize("call", [*READS, *WRITES])
@pytest.mark.parametrize("prefix", ["", "app", "other/"])
def test_a_token_of_a_prefix_outside_it(
    writer: Client, app: Client, key: str, call: str, prefix: str
) -> None:
    there, missing = f"{prefix}{key}there", f"{prefix}{key}missing"
    writer.create(there, "v")
    said = set()
    for outside in (there, missing):
        with pytest.raises(Forbidden) as caught:
            CALLS[call](app, outside)
        assert (caught.value.status, caught.value.code) == (403, "forbidden")
        assert caught.value.request_id
        said.add(caught.value.detail)
    # So nobody learns from it what there is.
    assert len(said) == 1
    assert writer.get(there).value == "v"


def test_a_walk_that_would_leave_the_prefix(app: Client) -> None:
    for prefix in ("", "ap", "s"):
        for walk in (app.keys, app.items):
            with pytest.raises(Forbidden):
                next(iter(walk(prefix)))
        with pytest.raises(Forbidden):
            app.count(prefix)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("token", [None, SECRET, "x", "Bearer", '"\\,;=~'])
def test_no_token_and_a_wrong_one(
    connect: Connect, guarded: GuardedKvd, call: str, token: str | None
) -> None:
    client = connect(guarded.url, token=token)
    with pytest.raises(Unauthenticated) as caught:
        CALLS[call](client, "app/k")
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
    assert caught.value.request_id


# Whose it is.


def test_whoami_of_a_token(app: Client, reader: Client) -> None:
    who = app.whoami()
    assert who.name == "app"
    assert set(who.rules) == {Rule("app/", "write"), Rule("shared/", "read")}
    assert who.expires_at is not None
    assert who.expires_at.utcoffset() == timedelta(0)
    left = who.expires_at - datetime.now(timezone.utc)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert reader.whoami() == Identity("reader", (Rule("", "read"),), None)


@pytest.mark.parametrize("token", [None, SECRET])
def test_whoami_where_no_token_is_asked_for(connect: Connect, kvd: str, token: str | None) -> None:
    assert connect(kvd, token=token).whoami() == Identity(None, (EVERYTHING,), None)


def test_an_identity_cannot_be_changed() -> None:
    identity = Identity(None, (EVERYTHING,), None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        identity.name = "app"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        EVERYTHING.access = "read"  # type: ignore[misc]
    assert hash(identity) == hash(Identity(None, (EVERYTHING,), None))


def test_whoami_is_retried_as_any_read(connect: Connect) -> None:
    refusals = [
        problem(429, "rate-limited", Retry_After="0"),
        problem(503, "database-unavailable", Retry_After="0"),
        page(502),
        Cut(),
        Cut(IDENTITY[:-1]),
    ]
    with serve(*refusals, IDENTITY) as server:
        client = connect(f"{server.url}/kv/", token=SECRET)
        assert client.whoami() == Identity("app", (EVERYTHING,), None)
        sent = {(each.method, each.target) for each in server.requests}
        assert (len(server.requests), sent) == (6, {("GET", "/kv/whoami")})
        assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {SECRET}"}


def test_whoami_until_the_deadline(connect: Connect) -> None:
    with serve(None, problem(503, "overloaded", Retry_After="60")) as server:
        client = connect(server.url)
        for deadline in (0.3, 5):
            with pytest.raises(Unavailable):
                client.whoami(deadline=deadline)
        assert server.methods == ["GET", "GET"]
        with pytest.raises(Unavailable, match="deadline has passed"):
            client.whoami(deadline=0)
        assert server.methods == ["GET", "GET"]


@pytest.mark.parametrize(
    "body",
    [
        "null",
        "[]",
        "{}",
        '{"name": null, "rules": null, "expires_at": null}',
        '{"name": null, "rules": [5], "expires_at": null}',
        '{"name": null, "rules": [{"prefix": ""}], "expires_at": null}',
        '{"name": null, "rules": [], "expires_at": "soon"}',
        '{"name": null, "rules": []}',
    ],
)
def test_an_identity_that_is_none(connect: Connect, body: str) -> None:
    with serve(answer(200, body)) as server, pytest.raises(KvdError, match="no answer") as caught:
        connect(server.url).whoami()
    assert type(caught.value) is KvdError


# How it is sent.


def test_every_request_carries_the_token(connect: Connect) -> None:
    with serve(ITEM, ITEM, ITEM, problem(503, "overloaded", Retry_After="0"), ITEM) as server:
        client = connect(server.url, token=SECRET)
        client.get("k")
        client.update("k", str.upper)
        client.put("k", "v", if_match="1-1")
        assert len(server.requests) == 5
        for request in server.requests:
            assert request.headers["authorization"] == f"Bearer {SECRET}"
            assert SECRET not in request.target
            assert SECRET not in request.body.decode()


def test_a_client_without_a_token_sends_none(connect: Connect) -> None:
    with serve(ITEM) as server:
        connect(server.url).get("k")
        assert "authorization" not in server.requests[0].headers


def test_clients_with_different_tokens_may_share_an_httpx_client() -> None:
    with serve(ITEM, ITEM) as server, httpx.Client(headers={"X-Own": "own"}) as http:
        for token in ("one", "two"):
            Client(server.url, token=token, http=http).get("k")
        sent = [(each.headers["authorization"], each.headers["x-own"]) for each in server.requests]
        assert sent == [("Bearer one", "own"), ("Bearer two", "own")]
        assert "Authorization" not in http.headers


@pytest.mark.parametrize(
    "token",
    ["", " ", "a b", f" {SECRET}", f"{SECRET}\n", f"{SECRET}\r\nX: y", "\t", "a\0", "é", "\ud800"],
    ids=ascii,
)
def test_a_token_that_cannot_be_sent(connect: Connect, token: str) -> None:
    with pytest.raises(InvalidRequest, match="The token is empty, or has") as caught:
        connect("http://127.0.0.1:8000", token=token)
    assert caught.value.code == "invalid-request"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert SECRET not in str(caught.value)


def test_a_second_authorization_is_refused(connect: Connect) -> None:
    for own in ({"auth": ("user", "secret")}, {"headers": {"authorization": "Basic secret"}}):
        with pytest.raises(InvalidRequest, match="httpx client cannot both be sent") as caught:
            connect("https://h", token=SECRET, **own)
        assert "secret" not in str(caught.value)
    with pytest.raises(InvalidRequest, match="base URL cannot both be sent") as caught:
        connect("https://user:secret@h", token=SECRET)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("own", [{}, {"follow_redirects": True}], ids=str)
def test_a_redirect_carries_the_token_nowhere(
    connect: Connect, status: int, own: dict[str, bool]
) -> None:
    with serve(ITEM) as other:
        elsewhere = answer(status, Location=f"{other.url}/items/k")
        with serve(*[elsewhere] * len(CALLS)) as server:
            client = connect(server.url, token=SECRET, **own)
            for call in CALLS.values():
                with pytest.raises(KvdError, match=str(status)):
                    call(client, "k")
            assert len(server.requests) == len(CALLS)
        assert other.requests == []


# Who is not told.


@pytest.mark.parametrize(
    "got",
    [
        problem(401, "unauthenticated"),
        problem(403, "forbidden"),
        problem(503, "overloaded", Retry_After="60"),
        answer(307, Location="/elsewhere"),
        page(401),
        answer(200, "{"),
        answer(200, "no gzip", Content_Encoding="gzip"),
        Cut(),
        Cut(b"\0\0\0\0\r\n\r\n"),
        None,
    ],
    ids=lambda got: repr(got and got[:24]),
)
def test_no_error_tells_the_token(
    connect: Connect, caplog: pytest.LogCaptureFixture, got: bytes | None
) -> None:
    caplog.set_level(logging.DEBUG)
    for call in (Client.get, Client.delete):
        with serve(got) as server:
            client = connect(server.url, token=SECRET, deadline=0.3)
            with pytest.raises(KvdError) as caught:
                getattr(client, call.__name__)("k")
            assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in shown(caught.value)
    assert caplog.text
    assert SECRET not in caplog.text


def test_no_error_of_a_connection_tells_the_token(connect: Connect) -> None:
    for url in ("http://127.0.0.1:1", f"http://127.0.0.1/{'p' * 62_000}"):
        client = connect(url, token=SECRET, deadline=0.1)
        with pytest.raises(KvdError) as caught:
            client.put("k" * 4_000, "v")
        assert SECRET not in shown(caught.value)


def test_no_refusal_of_a_real_kvd_tells_the_token(
    app: Client, app_token: str, connect: Connect, guarded: GuardedKvd
) -> None:
    # One letter more is no token of kvd, but nearly a secret.
    stranger = connect(guarded.url, token=app_token + "x")
    for client in (app, stranger):
        with pytest.raises((Forbidden, Unauthenticated)) as caught:
            client.get("other")
        assert app_token not in shown(caught.value)
    assert app_token not in (guarded.directory / "kvd.log").read_text()


def shown(error: BaseException) -> str:
    """What a log, a debugger or another process may see of an error, with its causes."""
    parts = [*traceback.format_exception(error), str(pickle.dumps(error))]
    cause: BaseException | None = error
    while cause is not None:
        parts += [str(cause), repr(cause), repr(vars(cause))]
        if isinstance(cause, httpx.RequestError):
            parts += [repr(cause.request), repr(vars(cause.request))]
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            if frame.f_globals["__name__"].startswith("kvd_client"):
                parts.append(repr(frame.f_locals))
        cause = cause.__cause__ or cause.__context__
    return "\n".join(parts)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_no_client_tells_its_token(kind: type[Client | AsyncClient]) -> None:
    client = kind("http://127.0.0.1:8000", token=SECRET)
    operations = client._operations if isinstance(client, Client) else client
    calls = operations._calls
    for each in (client, vars(client), calls, vars(calls), vars(calls._io), vars(client._http)):
        assert SECRET not in f"{each!r} {each}"


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    made, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=kvd", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    command += ["-keyout", str(key), "-out", str(made)]
    subprocess.run(command, capture_output=True, check=True)
    return made, key


def test_a_token_over_tls(connect: Connect, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    made, key = certificate
    with run_guarded_kvd(tmp_path, "--tls-cert", str(made), "--tls-key", str(key)) as kvd:
        assert kvd.url.startswith("https://")
        token = kvd.create_token("app", "--write", "")
        trusting = ssl.create_default_context(cafile=str(made))
        client = connect(kvd.url, token=token, verify=trusting)
        assert client.create("k", "v").value == "v"
        assert client.whoami().name == "app"
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            connect(kvd.url, token=token).put("k", "w", deadline=0.5)
        with pytest.raises(InvalidRequest, match="https://"):
            connect(kvd.url.replace("https", "http"), token=token).get("k")
