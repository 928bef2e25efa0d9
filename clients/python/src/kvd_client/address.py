"""Where a kvd is, and what lets the client in."""

from __future__ import annotations

import re

import httpx

from kvd_client.errors import InvalidRequest


def kvd_url(base_url: str) -> str:
    """The URL of a kvd, before the paths; raises `InvalidRequest` if it is none."""
    try:
        url = httpx.URL(base_url)
        # What the system's resolver does, too late, with a label of more than 63 characters.
        url.host.encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise _no_base(str(error)) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise _no_base("scheme and host are needed")
    if url.port is not None and not 0 < url.port <= 65_535:
        raise _no_base(f"{url.port} is no port")
    if url.query or url.fragment or base_url.endswith(("?", "#")):
        raise _no_base("a query or a fragment cannot stand before the path of an item")
    return base_url.rstrip("/")


def _no_base(why: str) -> InvalidRequest:
    # Without the URL itself, which may hold a password.
    detail = f"The base URL is no http:// or https:// URL of a kvd: {why}"
    return InvalidRequest(detail, code="invalid-request")


def authorization(
    token: str | None, url: str, http: httpx.Client | httpx.AsyncClient | None
) -> httpx.Headers:
    """The headers that carry the token; raises `InvalidRequest` if none can."""
    if token is None:
        return httpx.Headers()
    # Neither message has the token, the password or the header, which are secrets.
    if not re.fullmatch("[!-~]+", token):
        detail = "The token is empty, or has a space, a line break or another character of no token"
        raise InvalidRequest(detail, code="invalid-request")
    if httpx.URL(url).userinfo:
        raise _second_authorization("the user of the base URL")
    if http is not None and (http.auth is not None or "Authorization" in http.headers):
        raise _second_authorization("the auth or the Authorization header of the httpx client")
    return httpx.Headers({"Authorization": f"Bearer {token}"})


def _second_authorization(other: str) -> InvalidRequest:
    detail = f"A token and {other} cannot both be sent: a request has one Authorization header"
    return InvalidRequest(detail, code="invalid-request")
