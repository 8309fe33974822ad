"""The listening side of HTTP: aiohttp's connection handler with the time limit and the JSON errors it lacks.

This and `router/answer.py` are the only places that know aiohttp's internals, which is why its minor version is pinned.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, BadHttpMethod, LineTooLong

from router.errors import BadRequest, RouterError, error_body

MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 8192
"""Unequal on purpose: aiohttp raises one exception for both, and only the limit it names tells 414 from 431."""
MAX_HEADERS = 128
KEEPALIVE_S = 75.0

_log = logging.getLogger("tokenyard.http")


class Connection(web.RequestHandler):
    """One client connection. A head that does not arrive whole within `head_timeout_s` closes it."""

    __slots__ = ("_head_timeout_s", "_head_timer")

    def __init__(self, manager: web.Server, *, head_timeout_s: float, **options: Any) -> None:
        super().__init__(manager, **options)
        self._head_timeout_s = head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._head_timeout_s, self.force_close)

    def data_received(self, data: bytes) -> None:
        """Time the first byte to the last of each head; a body, and waiting for an answer, are timed elsewhere."""
        seen = self._request_count
        super().data_received(data)
        if self._request_count != seen:
            self._stop_head_timer()
        elif self._head_timer is None and not self._request_in_progress and data:
            self._head_timer = self._loop.call_later(self._head_timeout_s, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the HTTP parser refused, or a bug of ours, in our shape and without echoing the client's bytes."""
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("unhandled error", exc_info=exc)
            http_status, error = RouterError.status, RouterError()
        else:
            http_status, text = _parser_error(exc)
            error = BadRequest(text)
        response = web.Response(
            status=http_status,
            body=error_body(error),
            content_type="application/json",
            headers={"x-request-id": secrets.token_hex(16)},
        )
        response.force_close()
        return response


def _parser_error(exc: BaseException | None) -> tuple[HTTPStatus, str]:
    match exc:
        case LineTooLong() if MAX_LINE_BYTES in exc.args:
            return HTTPStatus.REQUEST_URI_TOO_LONG, f"The request line is longer than {MAX_LINE_BYTES} bytes."
        case LineTooLong():
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A header is longer than {MAX_FIELD_BYTES} bytes."
        case BadHttpMethod():
            return HTTPStatus.BAD_REQUEST, "This is not an HTTP/1.1 request."
        case BadHttpMessage(message="Too many headers received"):
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"There are more than {MAX_HEADERS} headers."
        case _:
            return HTTPStatus.BAD_REQUEST, "The request is not valid HTTP/1.1."


class HttpServer(web.Server):
    """Makes a `Connection` for each client; a client that leaves cancels its handler."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, head_timeout_s: float
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._head_timeout_s = head_timeout_s

    def __call__(self) -> web.RequestHandler:
        return Connection(
            self,
            loop=asyncio.get_running_loop(),
            head_timeout_s=self._head_timeout_s,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            access_log=None,  # our own line per request says more
        )
