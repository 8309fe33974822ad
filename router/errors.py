"""Everything that ends a request other than its answer: who is at fault, which status, which stable code."""

from __future__ import annotations

import re
from http import HTTPStatus

import orjson

MAX_MESSAGE_CHARS = 512
"""Longest text of a worker that is shown to a client."""


class RouterError(Exception):
    """Becomes an OpenAI-shaped response in one place, the gateway.

    Attributes:
        code: stable, for programs; `kind` is the OpenAI `type`.
        reason: the ledger reason a request that ends this way carries.
        param: the request field at fault.
        retry_after_s: what `Retry-After` should say.
        before_response: no byte of a response had arrived when it happened.
        retryable: another worker may still serve the request, as long as the client was sent nothing.
        detail: for logs only: addresses, system errors, a worker's own words.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal_error"
    kind = "server_error"
    reason = "internal"
    message = "the gateway failed; the error is in its log"
    before_response = False
    retryable = False

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        before_response: bool | None = None,
        detail: str = "",
    ) -> None:
        self.message = message or self.message
        self.param = param
        self.retry_after_s = retry_after_s
        if before_response is not None:
            self.before_response = before_response
        self.detail = detail
        super().__init__(f"{self.message} ({detail})" if detail else self.message)


class BadRequest(RouterError):
    """The request itself is wrong."""

    status, code, kind = HTTPStatus.BAD_REQUEST, "invalid_request", "invalid_request_error"
    reason, message = "invalid", "the request is not valid"

    def __init__(self, message: str = "", *, param: str | None = None, code: str = "", detail: str = "") -> None:
        super().__init__(message, param=param, detail=detail)
        self.code = code or self.code


class PayloadTooLarge(BadRequest):
    """The body is longer than the gateway accepts."""

    status, code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large"
    message = "the request body is too large"


class UnsupportedMedia(BadRequest):
    """The body is not JSON by its own header, or it is compressed."""

    status, code = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"
    message = "send the body as application/json, not compressed"


class UnknownPath(BadRequest):
    """No such route here; nothing outside the list of routes is ever passed to a worker."""

    status, code, message = HTTPStatus.NOT_FOUND, "not_found", "no such path"


class MethodNotAllowed(BadRequest):
    """The route exists under another method."""

    status, code = HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed"
    message = "this path does not take that method"


class UnknownModel(BadRequest):
    """No pool serves a model of that name."""

    status, code = HTTPStatus.NOT_FOUND, "model_not_found"
    message = "no such model; GET /v1/models lists those served"


class DeadlineExceeded(RouterError):
    """The client's own deadline is over."""

    status, code, kind = HTTPStatus.REQUEST_TIMEOUT, "deadline_exceeded", "timeout_error"
    reason, message = "deadline", "the deadline of the request has passed"


class RateLimited(RouterError):
    """The client sends more than it was granted: its own doing, unlike `Overloaded`."""

    status, code, kind = HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded", "rate_limit_error"
    reason, message = "rate_limited", "rate limit exceeded"


class Overloaded(RouterError):
    """The whole fleet is full."""

    status, code, reason = HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "overloaded"
    message = "all workers are busy; try again later"


class NoHealthyWorker(RouterError):
    """No worker that serves the model is in rotation."""

    status, code, reason = HTTPStatus.SERVICE_UNAVAILABLE, "no_healthy_worker", "no_worker"
    message = "no healthy worker serves this model"


class ShuttingDown(RouterError):
    """The gateway is draining."""

    status, code, reason = HTTPStatus.SERVICE_UNAVAILABLE, "server_shutting_down", "draining"
    message = "the gateway is shutting down"


class UpstreamError(RouterError):
    """A worker failed; the cause is its, not the client's."""

    status, code, reason = HTTPStatus.BAD_GATEWAY, "upstream_error", "upstream_error"
    message = "the worker failed"
    retryable = True


class UpstreamConnectFailed(UpstreamError):
    """No connection: refused, unreachable, unresolved, TLS refused, or not accepted in time. Nothing was sent."""

    message, before_response = "the worker cannot be reached", True


class UpstreamReset(UpstreamError):
    """The connection was lost after the request was sent and before a byte of the answer came."""

    message, before_response = "the worker closed the connection without an answer", True


class UpstreamTimeout(UpstreamError):
    """The worker accepted the request but stopped answering."""

    status, code, reason = HTTPStatus.GATEWAY_TIMEOUT, "upstream_timeout", "stalled"
    message = "the worker stopped answering"


class UpstreamTruncated(UpstreamError):
    """The answer ended before its proper end."""

    reason, message = "truncated", "the worker's answer was cut short"


class BadUpstream(UpstreamError):
    """The worker's answer is not what HTTP or the API says it should be."""

    message = "the worker gave an answer that cannot be understood"


class UpstreamBusy(UpstreamError):
    """The worker refused for load (429, 503): 503 to the client, with the worker's own Retry-After."""

    status, code, kind = HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "server_error"
    message = "the worker is busy; try again later"


class RefusedByWorker(BadRequest):
    """The worker found the request itself wrong (400, 413, 422); its words are meant for the client."""

    message = "the worker refused the request"


_MEANT_FOR_CLIENT = frozenset({400, 413, 422})
_BUSY = frozenset({429, 503})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def worker_error(status: int, body: bytes, retry_after: str = "") -> RouterError:
    """What a worker's answer other than 200 means. Redirects and 401, 403, 404 are our own wrong settings: 502."""
    said = _error_object(body)
    detail = f"worker answered {status}: {scrubbed(str(said.get('message', '')))}"
    if status in _MEANT_FOR_CLIENT:
        return _refused(status, said, detail)
    if status in _BUSY:
        return UpstreamBusy(retry_after_s=_seconds(retry_after), detail=detail)
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return UpstreamTimeout(detail=detail)
    return UpstreamError(f"the worker answered with status {status}", detail=detail)


def scrubbed(text: str) -> str:
    """One line without control characters, cut to `MAX_MESSAGE_CHARS`."""
    return _CONTROL.sub(" ", text).strip()[:MAX_MESSAGE_CHARS]


def error_body(error: RouterError) -> bytes:
    """The JSON body of an error response."""
    return orjson.dumps(
        {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
    )


def sse_error(error: RouterError) -> bytes:
    """The event that ends a stream whose 200 is already sent; no `[DONE]` may follow it."""
    return b"data: " + error_body(error) + b"\n\n"


def _refused(status: int, said: dict[str, object], detail: str) -> RefusedByWorker:
    code, param = said.get("code"), said.get("param")
    error = RefusedByWorker(
        scrubbed(str(said.get("message") or "")),
        param=scrubbed(param) if isinstance(param, str) else None,
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        detail=detail,
    )
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        error.status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return error


def _error_object(body: bytes) -> dict[str, object]:
    """The error of an OpenAI-shaped body, nested or (older engines) at the top; empty if there is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    nested = answer.get("error", answer) if isinstance(answer, dict) else None
    if isinstance(nested, str):
        return {"message": nested}
    return nested if isinstance(nested, dict) else {}


def _seconds(retry_after: str) -> float | None:
    """Retry-After in its number form; a date, which no engine sends, counts as none."""
    try:
        seconds = float(retry_after)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 3600 else None
