"""Who may ask the page's server anything: this machine's own browser, with the token, from the page itself."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

TOKEN_HEADER = "x-review-token"
MAX_URL_BYTES = 2000
#: Nothing from elsewhere, nothing inline, no frame around it: text that got past all escaping would still do nothing.
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


class Gate:
    """ASGI middleware. port: where the server listens; token: the secret in the address that is printed.

    A foreign Host is refused (a name that someone points to 127.0.0.1 makes their page ours), every request needs the
    cookie that the printed address sets, and one that changes something also the page's own origin and token.
    """

    def __init__(self, app: Callable, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"autofocus_review_{port}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not spoken here")

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        answer = self._refusal(scope) or self._entry(scope)
        await (answer or self._app)(scope, receive, secured)

    def _refusal(self, scope: Message) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("unknown host", 421)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
            return PlainTextResponse("too long an address", 414)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("GET or POST", 405)
        if scope["method"] == "POST":
            if headers.getlist("origin") != [f"http://{hosts[0].lower()}"]:
                return PlainTextResponse("from another page", 403)
            if not self._is_token(headers.get(TOKEN_HEADER, "")):
                return PlainTextResponse("without the token", 403)
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return PlainTextResponse("application/json", 415)
        return None

    def _entry(self, scope: Message) -> Response | None:
        """The printed address becomes a cookie, so that the token stays in no history; without either nobody enters."""
        request = Request(scope)
        if scope["method"] != "POST" and scope["path"] == "/" and "token" in request.query_params:
            if not self._is_token(request.query_params["token"]):
                return PlainTextResponse("not the token of this server", 403)
            answer = RedirectResponse("/", 303)
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._is_token(request.cookies.get(self._cookie, "")):
            return PlainTextResponse("open the address that `autofocus review` has printed", 403)
        return None

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())
