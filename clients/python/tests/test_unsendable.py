"""What httpx, its libraries and the standard library refuse or cannot read is a `KvdError`, too."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from servers import ITEM, Cut, answer, document, problem, serve

from kvd_client import (
    AsyncClient,
    Client,
    Delete,
    InvalidRequest,
    KvdError,
    OutcomeUnknown,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Connect

LABEL = "a" * 64

CALLS: dict[str, Callable[[Client, str], object]] = {
    "get": lambda client, key: client.get(key),
    "put": lambda client, key: client.put(key, "v"),
    "upsert": lambda client, key: client.put(key, "v", upsert=True),
    "update": lambda client, key: client.update(key, str.upper, default="v"),
    "delete": lambda client, key: client.delete(key),
    "create": lambda client, key: client.create(key, "v"),
    "batch": lambda client, key: client.batch([Delete(key)]),
    "get_many": lambda client, key: client.get_many([key]),
    "put_many": lambda client, key: client.put_many({key: "v"}),
    "delete_many": lambda client, key: client.delete_many([key]),
}
every_call = pytest.mark.parametrize("call", CALLS)

LISTS: dict[str, Callable[[Client, str], object]] = {
    "keys": lambda client, prefix: list(client.keys(prefix)),
    "items": lambda client, prefix: list(client.items(prefix)),
    "count": lambda client, prefix: client.count(prefix),
}
every_list = pytest.mark.parametrize("call", LISTS)


# With a real kvd.


@every_call
@pytest.mark.parametrize(
    "no_key",
    [
        "k" * 70_000,
        "é" * 70_000,
        "k" * 5_000,
        "k" * 513,
        "é" * 257,
        "\0",
        "a\0b",
        "a\nb",
        "\x7f",
        "\ud800",
        "",
        "..",
    ],
    ids=lambda key: f"{len(key)} of {key[:1]!a}",
)
def test_a_key_that_is_none(client: Client, call: str, no_key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CALLS[call](client, no_key)
    assert caught.value.code == "invalid-key"


@every_list
@pytest.mark.parametrize(
    "no_prefix",
    ["k" * 70_000, "🙂" * 70_000, "k" * 5_000, "k" * 513, "a\0", "\udfff"],
    ids=lambda prefix: f"{len(prefix)} of {prefix[:1]!a}",
)
def test_a_prefix_that_is_none(client: Client, call: str, no_prefix: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        LISTS[call](client, no_prefix)
    assert caught.value.code == "invalid-request"


def test_the_longest_key_and_prefix_are_sent(client: Client, key: str) -> None:
    # Each character is four bytes, or twelve in a URL.
    longest = (key + "🙂" * 128).encode()[:512].decode(errors="ignore")
    client.create(longest, "v")
    assert client.get(longest).value == "v"
    assert list(client.keys(longest, page_size=1)) == [longest]


def test_a_tag_that_is_too_long_for_a_header(client: Client, key: str) -> None:
    client.create(key, "v")
    for call in (client.put, lambda key, _, if_match: client.delete(key, if_match=if_match)):
        with pytest.raises(KvdError):
            call(key, "w", if_match="1" * 1_000_000)
    assert client.get(key).value == "v"


# Without one.


@pytest.mark.parametrize(
    "url",
    [
        "h",
        "//h",
        "http:/h",
        "http://",
        "http://:80",
        "unix:///run/kvd",
        "http://h:99999",
        "http://h:65536",
        "http://h:0",
        "http://h:-1",
        "http://h:x",
        "http://[::1",
        "http://[::g]",
        "http://999.0.0.1",
        f"http://{LABEL}",
        f"http://{LABEL}.example",
        f"http://{'é' * 64}",
        "http://a..b",
        "http://.",
        "http://xn--zz--",
        "http://a\0b",
        "http://a\nb",
        "http://h/\0",
        "http://\ud800",
        "http://h/\ud800",
        "http://h/" + "p" * 70_000,
        "http://h/?q=1",
        "http://h/?",
        "http://h/#f",
    ],
    ids=lambda url: f"{url[:24]!a}",
)
def test_a_base_url_that_is_none(connect: Connect, url: str) -> None:
    with pytest.raises(InvalidRequest, match="is no http:// or https:// URL") as caught:
        connect(url)
    assert caught.value.code == "invalid-request"
    # As from any other function that is given a wrong value.
    assert isinstance(caught.value, ValueError)


def test_the_password_of_a_base_url_is_not_told(connect: Connect) -> None:
    with pytest.raises(InvalidRequest) as caught:
        connect("ftp://user:secret@h")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://[::1]:80", "https://é.example/kv", "HTTP://H.", "http://10.0.0.1"]
)
def test_a_base_url_that_is_one(connect: Connect, url: str) -> None:
    connect(url)


@pytest.mark.parametrize("own", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "[::1]"),
        ("NO_PROXY", "localhost,a b:c"),
        ("HTTP_PROXY", "ftp://proxy"),
        ("HTTP_PROXY", "http://proxy:x"),
        ("ALL_PROXY", "socks5://proxy"),
        ("HTTPS_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/missing/authorities.pem"),
    ],
)
def test_an_environment_that_httpx_refuses(
    monkeypatch: pytest.MonkeyPatch, own: Callable[[str], object], name: str, value: str
) -> None:
    if name == "SSL_CERT_FILE" and not _reads_certificates_of_the_environment(monkeypatch, value):
        pytest.skip("this httpx does not read SSL_CERT_FILE")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with pytest.raises(KvdError, match="what the environment says") as caught:
        own("http://127.0.0.1:8000")
    assert caught.value.__cause__ is not None


def _reads_certificates_of_the_environment(monkeypatch: pytest.MonkeyPatch, file: str) -> bool:
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", file)
        try:
            httpx.create_ssl_context()
        except OSError:
            return True
    return False


@every_call
def test_a_proxy_whose_name_is_none(connect: Connect, call: str) -> None:
    # Each library of asyncio has its own error for it.
    client = connect("http://h", deadline=0.2, proxy=f"http://{LABEL}:80")
    with pytest.raises((InvalidRequest, Unavailable)):
        CALLS[call](client, "k")


@every_call
@pytest.mark.parametrize("header", [b"a\nb", b"a\0b", b"a\r\nX: y"])
def test_a_header_that_is_none_is_not_sent(connect: Connect, call: str, header: bytes) -> None:
    with serve(ITEM) as server:
        client = connect(server.url, headers=[(b"X-Own", header)])
        with pytest.raises(InvalidRequest):
            CALLS[call](client, "k")
        assert server.requests == []


def test_an_error_that_httpx_lets_out_of_a_library_leaves_a_write_unknown(connect: Connect) -> None:
    with serve(ITEM) as server:
        client = connect(server.url, headers={"Content-Length": "3"})
        with pytest.raises(OutcomeUnknown) as caught:
            client.put("k", "v")
    assert not isinstance(caught.value.__cause__, httpx.HTTPError)


@pytest.mark.parametrize("failure", [ZeroDivisionError(), KeyError("k"), httpx.StreamConsumed()])
def test_errors_of_a_transport(connect: Connect, failure: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure

    client = connect("http://h", transport=httpx.MockTransport(fail))
    if isinstance(failure, RuntimeError):
        # The httpx client is used wrongly, which is no matter of the request.
        with pytest.raises(RuntimeError):
            client.get("k")
        return
    with pytest.raises(KvdError) as read:
        client.get("k")
    assert type(read.value) is KvdError
    with pytest.raises(OutcomeUnknown) as written:
        client.put("k", "v")
    assert read.value.__cause__ is written.value.__cause__ is failure


@pytest.mark.parametrize(
    "garbled",
    [
        answer(200, "no gzip", Content_Encoding="gzip"),
        answer(307, Location="http://[::1"),
        Cut(b"HTTP/1.1 200 OK\r\nA B: c\r\n\r\n"),
        Cut(b"HTTP/9.9 banana\r\n\r\n"),
        Cut(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"),
        Cut(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Cut(b"\0\0\0\0\r\n\r\n"),
    ],
    ids=lambda garbled: repr(garbled[:40]),
)
def test_an_answer_that_is_none(connect: Connect, garbled: bytes) -> None:
    with serve(*[garbled] * 50) as server:
        client = connect(server.url)
        with pytest.raises(OutcomeUnknown):
            client.put("k", "v")
        with pytest.raises(KvdError):
            client.get("k", deadline=0.5)


def item(**members: Any) -> str:
    return json.dumps(document() | members)


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"key": ' * 100_000,
        "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
        '{"items": [], "total": Infinity}',
        '{"items": 5, "next_cursor": null, "total": {}}',
        '{"items": [5], "next_cursor": null, "total": "many"}',
        json.dumps({"items": [{"key": "k"}], "next_cursor": None, "total": None}),
        item(created_at=5),
        item(created_at=None),
        item(created_at="yesterday"),
        item(created_at="9999-99-99T99:99:99Z"),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_document_that_is_not_kvds(connect: Connect, body: str) -> None:
    strange = answer(200, body)
    with serve(strange, strange, strange) as server:
        client = connect(server.url)
        with pytest.raises(OutcomeUnknown):
            client.put("k", "v")
        for read in (client.get, client.count):
            with pytest.raises(KvdError) as caught:
                read("k")
            assert type(caught.value) is KvdError
    page = [strange, answer(404, body, "application/problem+json")]
    with serve(*page) as server:
        client = connect(server.url)
        for _ in page:
            with pytest.raises(KvdError):
                list(client.items("k"))


def test_a_date_beyond_the_last_year(connect: Connect) -> None:
    late = problem(503, "overloaded", Retry_After="Fri, 31 Dec 9999 23:59:59 -2359")
    with serve(late, ITEM) as server:
        assert connect(server.url).get("k").value == "v"


@pytest.mark.parametrize("deadline", [math.inf, 1e300, 1e15])
def test_a_deadline_longer_than_the_system_can_wait(connect: Connect, deadline: float) -> None:
    with serve(ITEM) as server:
        client = connect(server.url, timeout=None)
        assert client.get("k", deadline=deadline).value == "v"
