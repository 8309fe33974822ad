"""`explain` against a small real server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import orjson
import pytest
from builders import worker

from loadgen.decision import fetched, told
from loadgen.finding import Finding, Misuse
from policies.api import Placement, Quote
from router.ledger import Entry, Outcome
from router.record import record


def entry(split: bool = True) -> Entry:
    made = Entry("abc", 0.0, model="m", traffic_class="chat", attempts=1, ttft_s=0.2, prompt_tokens=9, output_tokens=5)
    prefill, decode = worker("h200-0"), worker("mi355x-0")
    quote = Quote(0.25, 0.011, 0.0001, transfer_s=0.05, transfer_bytes=2e6)
    made.placement = Placement(prefill, decode if split else prefill, quote)
    made.ended(Outcome.COMPLETED, "", 0.6)
    return made


@contextmanager
def serving(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        answer: ClassVar[tuple[int, bytes]] = (status, body)

        def do_GET(self) -> None:
            seen.append(f"{self.path} {self.headers.get('authorization', '')}".strip())
            self.send_response(self.answer[0])
            self.end_headers()
            self.wfile.write(self.answer[1])

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


def test_a_decision_is_fetched_by_its_id_with_the_token() -> None:
    with serving(200, orjson.dumps(record(entry()))) as (url, seen):
        found = fetched(url, "abc/../x", "secret")
    assert found["id"] == "abc"
    assert seen == ["/api/decisions/abc%2F..%2Fx Bearer secret"]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"{}", "no request 'abc' among the last ones"),
        (401, b"{}", "asks for the operator token"),
        (500, b"", "answered 500"),
        (200, b"<html>", "not JSON"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, body: bytes, message: str) -> None:
    with serving(status, body) as (url, _), pytest.raises(Finding, match=message):
        fetched(url, "abc")


def test_nobody_listening_is_a_finding_and_no_url_or_no_id_are_misuse() -> None:
    with pytest.raises(Finding, match="is the gateway running"):
        fetched("http://127.0.0.1:9", "abc")
    for url in ("file:///etc/passwd", "nonsense", "http://", "http://[::1", "http://a:99999"):
        with pytest.raises(Misuse, match="expected a http or https URL"):
            fetched(url, "abc")
    with pytest.raises(Misuse, match="no request id given"):
        fetched("http://127.0.0.1:9", "")


def test_prediction_and_outcome_are_told_side_by_side() -> None:
    text = told(record(entry()))
    assert "request abc: completed, model m, class chat" in text
    assert "prefill on h200-0, decode on mi355x-0, handing over 2.0 MB of KV in 50.0 ms" in text
    assert "0.25" in text
    assert "0.2" in text
    assert "prefill and decode on h200-0" in told(record(entry(split=False)))


def test_a_request_that_was_never_placed_is_told_with_its_reason() -> None:
    made = Entry("r", 0.0, model="m", message="no worker")
    made.ended(Outcome.REJECTED, "no_worker", 0.1)
    assert "rejected (no_worker)" in told(record(made))
    assert "never placed" in told(record(made))
