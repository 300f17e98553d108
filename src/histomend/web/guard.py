"""Who may ask for what: the token, this machine, this page, and bodies of bounded size."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BODY = 32_000_000
"""Bytes of a request; GeoJSON of a slide with very many annotations has a tenth of it."""
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
# The one style that OpenSeadragon puts into a page.
_STYLE = "sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE="
_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' '{_STYLE}'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """Lets through what comes from the page itself, and strips the token from the address.

    The token is the first part of every path, so that it needs no cookie and no other page can
    make a browser send it. The `Host` header has to name this machine, as else a site could have
    its own name point here (DNS rebinding); an `Origin` has to be this server.

    Parameters
    ----------
    app : the ASGI application that answers.
    token : str
    most_body : bytes of a request.
    """

    def __init__(self, app: App, token: str, most_body: int = MOST_BODY) -> None:
        self.app, self.token, self.most_body = app, token, most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI applications do."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                present = {name.lower() for name, _ in given}
                more = {"cache-control": "no-store", **_HEADERS}
                given += [
                    (name.encode(), value.encode())
                    for name, value in more.items()
                    if name.encode() not in present
                ]
                message = {**message, "headers": given}
            await send(message)

        status = self._refusal(scope)
        if status:
            await _refuse(sealed, *status)
            return
        if scope["path"].strip("/") == self.token and not scope["path"].endswith("/"):
            # Addresses in the page count from the folder, which ends in a slash.
            place = [(b"location", f"/{self.token}/".encode()), (b"content-length", b"0")]
            await sealed({"type": "http.response.start", "status": 307, "headers": place})
            await sealed({"type": "http.response.body", "body": b""})
            return
        body = await self._body(scope, receive)
        if body is None:
            await _refuse(sealed, 413, f"more than {self.most_body / 1e6:g} MB")
            return
        await self.app(self._stripped(scope), _again(body, receive), sealed)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return 403, "another host"
        first = scope["path"].lstrip("/").partition("/")[0]
        if not secrets.compare_digest(first.encode("utf-8", "replace"), self.token.encode()):
            return 404, "not found"
        origin = headers.get(b"origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "another origin"
        site = headers.get(b"sec-fetch-site", "none")
        if site not in ("none", "same-origin") and headers.get(b"sec-fetch-mode") != "navigate":
            return 403, "another site"
        return None

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return what was sent, None if it is too much."""
        if scope["method"] in ("GET", "HEAD"):
            return b""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.most_body:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.most_body:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)

    def _stripped(self, scope: Scope) -> Scope:
        rest = "/" + scope["path"].lstrip("/")[len(self.token) :].lstrip("/")
        return {**scope, "path": rest, "raw_path": rest.encode(), "root_path": ""}


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a function that gives a body that was read, and then what else comes."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": f"Refused: {why}."}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
