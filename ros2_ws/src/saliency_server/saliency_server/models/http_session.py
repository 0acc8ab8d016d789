"""One server over HTTP, through OpenAI's client: every request ends in time, and no answer is larger than a limit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import email.utils
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from saliency_server.models.chat import ChatError, redact

if TYPE_CHECKING:
    import openai

MAX_BYTES = 4 * 2**20  # of an answer, unpacked
SLACK_S = 1.0
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)  # one and the same from Python 3.11


@dataclass(frozen=True, slots=True)
class Reply:
    """HTTP status, the body as text, and how long the server asks to be left alone (None: it does not say)."""

    status: int
    text: str
    retry_after_s: float | None


@lru_cache(maxsize=16)
def session_for(url: str, key: str, model: str, concurrency: int) -> Session:
    """The process's session with one model on one server: chats share its limit, and what it has learned."""
    return Session(url, key, concurrency)


class Session:
    """The connection to one server, and what it has been found to refuse. Thread-safe.

    A timeout of an HTTP client is one for each read: a server that sends a byte now and then holds it for ever. Here
    the request runs as a task in an event loop of its own thread and is cancelled when its time is over.
    """

    def __init__(self, url: str, key: str, concurrency: int) -> None:
        self._url = url
        self._key = key
        self._slots = threading.BoundedSemaphore(concurrency)
        self._client: openai.AsyncOpenAI | None = None
        self.refused: frozenset[str] = frozenset()
        self._proven: frozenset[str] = frozenset()

    def refuse(self, what: set[str]) -> None:
        """Leave these parts out of requests from now on: the server seems not to take them."""
        self.refused |= what

    def settle(self, answered: bool) -> None:
        """Keep what was left out if that brought an answer; else take it back: it was refused for another reason."""
        if answered:
            self._proven = self.refused
        else:
            self.refused = self._proven

    def redact(self, text: str) -> str:
        """A text of the server's for an error: without the key."""
        return redact(text, self._key)

    def post(self, body: Mapping[str, Any], timeout_s: float) -> Reply:
        """POST a chat completion; the reply, whatever its status.

        Raises ChatError (retryable) where the server cannot be reached, says nothing complete within `timeout_s`, or
        says more than MAX_BYTES.
        """
        end_s = time.monotonic() + timeout_s
        if not self._slots.acquire(timeout=timeout_s):
            raise ChatError(f"the requests before it took more than {timeout_s:.3g} s", retryable=True)
        try:
            left_s = max(end_s - time.monotonic(), 0.0)
            future = asyncio.run_coroutine_threadsafe(self._send(body, left_s), _loop())
            try:
                return future.result(left_s + SLACK_S)
            except _TIMEOUTS as error:
                raise ChatError(f"no complete answer within {timeout_s:.3g} s", retryable=True) from error
            finally:
                future.cancel()
        finally:
            self._slots.release()

    async def _send(self, body: Mapping[str, Any], timeout_s: float) -> Reply:
        import openai

        if self._client is None:
            self._client = _open(self._url, self._key)
        try:
            return await asyncio.wait_for(_exchange(self._client, body, timeout_s), timeout_s)
        except openai.APIStatusError as error:
            text = error.response.text if error.response.is_closed else ""
            return Reply(error.status_code, text, _retry_after_s(error.response.headers))
        except openai.APITimeoutError as error:
            raise TimeoutError from error
        except (openai.APIConnectionError, OSError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, asyncio.CancelledError):  # the client's name for our own limit
                raise TimeoutError from error
            said = self.redact(f"{type(cause).__name__} {cause}")
            raise ChatError(f"{self._url} cannot be reached: {said}", retryable=True) from error
        except openai.OpenAIError as error:
            raise ChatError(f"{type(error).__name__}: {self.redact(str(error))}", retryable=False) from error


async def _exchange(client: openai.AsyncOpenAI, body: Mapping[str, Any], timeout_s: float) -> Reply:
    request = client.chat.completions.with_streaming_response.create(**body, timeout=timeout_s)
    async with request as response:
        return Reply(response.status_code, (await response.read()).decode("utf-8", "replace"), None)


def _open(url: str, key: str) -> openai.AsyncOpenAI:
    import openai

    # No redirects: they would carry question and key to a place that nobody named.
    http = openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks={"response": [_bounded]})
    # The client wants some key; a server without keys does not look at it.
    # What the client finds in the environment (key, organisation, project) is OpenAI's: nothing of it goes elsewhere.
    own = urlsplit(url).hostname == "api.openai.com"
    omitted = {} if own else {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
    return openai.AsyncOpenAI(
        base_url=url, api_key=key or "none", admin_api_key="", max_retries=0, http_client=http, default_headers=omitted
    )


async def _bounded(response: Any) -> None:
    """Make reading the response's body stop at MAX_BYTES, also that of an error, which the client reads by itself."""
    unpacked = response.aiter_bytes

    async def limited(*args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
        size = 0
        async for part in unpacked(*args, **kwargs):
            size += len(part)
            if size > MAX_BYTES:
                raise ChatError(f"the server's answer has more than {MAX_BYTES} bytes", retryable=True)
            yield part

    response.aiter_bytes = limited


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After as seconds (a number or a date); None where there is none or it cannot be read."""
    raw = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(raw)) if raw else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(raw).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


_LOCK = threading.Lock()
_LOOPS: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """The process's event loop for requests, in a daemon thread that is started at the first one."""
    with _LOCK:
        if not _LOOPS:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="vlm-requests", daemon=True).start()
            _LOOPS.append(loop)
        return _LOOPS[0]
