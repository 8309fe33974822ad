"""Reading the body of a request: plain JSON by its headers, no larger and no slower than allowed."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from aiohttp import web

from router.errors import BadRequest, PayloadTooLarge, UnsupportedMedia


class BodyTimeout(BadRequest):
    """The client stopped in the middle of its body."""

    status, code, message = HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request body did not arrive in time"


async def read(http: web.BaseRequest, limit_bytes: int, limit_s: float) -> bytes:
    """The whole body, or a `BadRequest`; the connection is then out of step and must be closed."""
    _check_head(http, limit_bytes)
    if http.headers.get("expect", "").lower() == "100-continue" and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        async with asyncio.timeout(limit_s):
            return await _read(http, limit_bytes)
    except TimeoutError:
        raise BodyTimeout from None
    except web.RequestPayloadError as error:
        raise BadRequest("the request body is not framed as its headers say", detail=str(error)) from None


def _check_head(http: web.BaseRequest, limit_bytes: int) -> None:
    headers = http.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia(code="unsupported_content_encoding")
    if "content-type" in headers and http.content_type != "application/json":
        raise UnsupportedMedia
    if (http.content_length or 0) > limit_bytes:
        raise _too_large(limit_bytes)


async def _read(http: web.BaseRequest, limit_bytes: int) -> bytes:
    content, pieces, size_bytes = http.content, [], 0
    while not content.at_eof():
        pieces.append(await content.readany())
        size_bytes += len(pieces[-1])
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
    return b"".join(pieces)


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the request body is longer than {limit_bytes} bytes")
