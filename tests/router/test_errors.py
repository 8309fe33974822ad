from __future__ import annotations

import orjson
import pytest

from router import errors
from router.errors import (
    MAX_MESSAGE_CHARS,
    BadRequest,
    Overloaded,
    RefusedByWorker,
    RouterError,
    UpstreamBusy,
    UpstreamError,
    UpstreamTimeout,
    error_body,
    sse_error,
    worker_error,
)
from router.ledger import REASONS, Outcome

FAMILY = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RouterError)]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("RateLimited", 429, "rate_limit_exceeded"),
        ("Overloaded", 503, "overloaded"),
        ("NoHealthyWorker", 503, "no_healthy_worker"),
        ("UpstreamError", 502, "upstream_error"),
        ("UpstreamConnectFailed", 502, "upstream_error"),
        ("UpstreamReset", 502, "upstream_error"),
        ("UpstreamTruncated", 502, "upstream_error"),
        ("BadUpstream", 502, "upstream_error"),
        ("UpstreamTimeout", 504, "upstream_timeout"),
        ("ShuttingDown", 503, "server_shutting_down"),
        ("UnknownModel", 404, "model_not_found"),
        ("PayloadTooLarge", 413, "request_too_large"),
        ("DeadlineExceeded", 408, "deadline_exceeded"),
    ],
)
def test_status_and_code_are_a_promise(name: str, status: int, code: str) -> None:
    error = getattr(errors, name)()
    assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_says_something_and_has_a_reason_the_ledger_knows(kind: type[RouterError]) -> None:
    error = kind()
    assert error.message
    assert error.reason in REASONS[Outcome.FAILED] | REASONS[Outcome.REJECTED]


@pytest.mark.parametrize("kind", FAMILY)
def test_only_the_workers_own_failures_are_retryable(kind: type[RouterError]) -> None:
    assert kind.retryable is issubclass(kind, UpstreamError)


def test_the_body_is_shaped_as_openais() -> None:
    error = BadRequest("'n' must be 1", param="n")
    assert orjson.loads(error_body(error)) == {
        "error": {"message": "'n' must be 1", "type": "invalid_request_error", "param": "n", "code": "invalid_request"}
    }
    assert sse_error(error) == b"data: " + error_body(error) + b"\n\n"


def test_a_detail_is_for_the_log_and_never_for_the_client() -> None:
    error = UpstreamError(detail="10.0.0.1:8000 said no")
    assert "10.0.0.1" in str(error)
    assert b"10.0.0.1" not in error_body(error)


def test_overload_says_when_to_come_back() -> None:
    assert Overloaded(retry_after_s=2.5).retry_after_s == 2.5


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_meant_for_the_client_reaches_it_cleaned(status: int) -> None:
    said = {"error": {"message": "bad\r\n\x1b[31m 'n'\u2028" + "x" * 1000, "param": "n\x00", "code": "bad_n"}}
    error = worker_error(status, orjson.dumps(said))
    assert isinstance(error, RefusedByWorker)
    assert (error.status, error.code, error.param) == (413 if status == 413 else 400, "bad_n", "n")
    assert error.message.startswith("bad [31m 'n' xxx")
    assert len(error.message) == MAX_MESSAGE_CHARS
    assert not error.retryable


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object":"error","message":"too long","code":400}', "too long"),
        (b'{"error":"plain"}', "plain"),
        (b'{"detail":[]}', RefusedByWorker.message),
        (b"<html>", RefusedByWorker.message),
        (b"[1]", RefusedByWorker.message),
        (b"", RefusedByWorker.message),
        (b'{"error":null}', RefusedByWorker.message),
        (b"\xff", RefusedByWorker.message),
    ],
)
def test_any_shape_of_refusal_is_read(body: bytes, message: str) -> None:
    error = worker_error(400, body)
    assert (error.message, error.code) == (message, "invalid_request")


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 500, 501, 502])
def test_any_other_answer_is_a_failed_upstream_that_keeps_its_words_to_the_log(status: int) -> None:
    error = worker_error(status, b'{"error":{"message":"secret at /srv/x.py"}}')
    assert (error.status, error.code, error.retryable) == (502, "upstream_error", True)
    assert b"secret" not in error_body(error)
    assert "secret" in error.detail


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("", None), ("-1", None), ("nan", None), ("1e9", None), ("Wed, 21 Oct", None)],
)
def test_a_busy_worker_passes_on_when_to_come_back(retry_after: str, seconds: float | None) -> None:
    for status in (429, 503):
        error = worker_error(status, b"", retry_after)
        assert isinstance(error, UpstreamBusy)
        assert (error.status, error.code, error.retry_after_s, error.retryable) == (503, "overloaded", seconds, True)


def test_a_gateway_timeout_of_a_worker_is_a_timeout() -> None:
    assert isinstance(worker_error(504, b""), UpstreamTimeout)
