"""Open-loop load against a small real server on 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loadgen.loadtest import LoadTest, Target, root
from loadgen.trace import Row
from loadgen.traffic import Traffic
from loadgen.workload import mix
from policies.api import Slo
from router.ledger import Outcome
from router.openai import TrafficClass

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", handler)
    app.router.add_post("/v1/completions", handler)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


async def loaded(url: str, *rows: Row, traffic: Traffic | None = None, **options: object) -> LoadTest:
    target = Target(url, "m", **options)  # type: ignore[arg-type]
    test = LoadTest(target, traffic or Traffic("m"))
    await test.run(rows)
    return test


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


CONTENT = {"choices": [{"delta": {"content": "word "}}]}
FINISH = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 25, "completion_tokens": 2}}


class Recorder:
    """Answers everything well and keeps what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(orjson.loads(await request.read()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path)
        head = {"x-tokenyard-prefill": "h200-0", "x-tokenyard-decode": "mi355x-1"}
        response = web.StreamResponse(headers=head)
        await response.prepare(request)
        await response.write(sse(CONTENT))
        await response.write(sse(CONTENT, FINISH, USAGE) + b"data: [DONE]\n\n")
        return response


async def test_a_whole_answer_is_a_completed_request_with_its_workers_and_counts() -> None:
    async with serving(Recorder().answer) as url:
        test = await loaded(url, Row(0, 0.0, 25, 2))
    [result] = test.results
    assert result.outcome is Outcome.COMPLETED
    assert (result.prefill, result.decode) == ("h200-0", "mi355x-1")
    assert (result.prompt_tokens, result.output_tokens) == (25, 2)
    assert result.ttft_s is not None
    assert result.e2e_s is not None
    assert 0 < result.ttft_s <= result.e2e_s <= test.duration_s
    assert test.tokens == {"mi355x-1": 2}


async def test_real_engines_are_asked_for_the_length_and_simulated_ones_told_it() -> None:
    recorder = Recorder()
    async with serving(recorder.answer) as url:
        await loaded(f"{url}/v1/", Row(0, 0.0, 25, 40))
        await loaded(url, Row(1, 0.0, 25, 40), simulated=True, chat=False)
    real, simulated = recorder.bodies
    assert (real["max_tokens"], real["ignore_eos"]) == (40, True)
    assert simulated["vllm_xargs"] == {"tokenyard_output_tokens": 40}
    assert "max_tokens" not in simulated
    assert recorder.paths == ["/v1/chat/completions", "/v1/completions"]
    assert len(simulated["prompt"]) == 100  # type: ignore[arg-type]
    assert real["messages"][0]["content"].isascii()  # type: ignore[index]


async def test_classes_sessions_and_own_headers_are_sent() -> None:
    recorder = Recorder()
    chat = TrafficClass("chat", Slo(ttft_s=30.0))
    async with serving(recorder.answer) as url:
        test = await loaded(
            url,
            Row(0, 0.0, 1, 1, client="c7"),
            traffic=Traffic("m", {"chat": chat}, mix("chat")),
            headers={"authorization": "Bearer k"},
        )
    sent = recorder.headers[0]
    assert (sent["x-tokenyard-class"], sent["x-tokenyard-session"]) == ("chat", "c7")
    assert sent["authorization"] == "Bearer k"
    assert test.results[0].traffic_class == "chat"
    assert test.results[0].slo is chat.slo


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Outcome.REJECTED),
        (401, Outcome.REJECTED),
        (429, Outcome.REJECTED),
        (503, Outcome.REJECTED),
        (500, Outcome.FAILED),
        (502, Outcome.FAILED),
        (504, Outcome.FAILED),
    ],
)
async def test_refusals_and_failures_are_told_apart(status: int, outcome: Outcome) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "sorry"}}, status=status)

    async with serving(handler) as url:
        [result] = (await loaded(url, Row(0, 0.0, 1, 1))).results
    assert result.outcome is outcome
    assert result.message == f"{status}: sorry"
    assert result.ttft_s is None


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (sse(CONTENT), "without a finish reason"),
        (sse(CONTENT, {"error": {"message": "worker lost"}}), "worker lost"),
        (b"", "without a finish reason"),
    ],
)
async def test_an_answer_that_is_not_whole_has_failed(stream: bytes, message: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=stream)

    async with serving(handler) as url:
        [result] = (await loaded(url, Row(0, 0.0, 1, 1))).results
    assert result.outcome is Outcome.FAILED
    assert message in result.message


async def test_a_connection_cut_in_the_stream_has_failed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(sse(CONTENT))
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(handler) as url:
        [result] = (await loaded(url, Row(0, 0.0, 1, 5))).results
    assert result.outcome is Outcome.FAILED
    assert result.output_tokens <= 1


async def test_an_unreachable_server_fails_requests_and_not_the_run() -> None:
    test = await loaded("http://127.0.0.1:9", Row(0, 0.0, 1, 1), Row(1, 0.0, 1, 1))
    assert [result.outcome for result in test.results] == [Outcome.FAILED] * 2
    assert "Connect" in test.results[0].message


async def test_a_silent_server_fails_at_the_timeout() -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await left.wait()
        return web.Response()

    async with serving(handler) as url:
        [result] = (await loaded(url, Row(0, 0.0, 1, 1), timeout_s=0.05)).results
        left.set()
    assert result.message == "no whole answer within 0.05 s"


async def test_requests_leave_on_schedule_while_none_is_answered() -> None:
    """The first answer waits for the last request to arrive: a closed loop would wait for ever."""
    arrived = 0
    everyone = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            everyone.set()
        await everyone.wait()
        return web.Response(body=sse(CONTENT, FINISH))

    async with serving(handler) as url:
        test = await loaded(url, *(Row(i, i * 0.001, 1, 1) for i in range(50)))
    assert [result.outcome for result in test.results] == [Outcome.COMPLETED] * 50
    assert test.in_flight == 0


def test_a_url_may_end_in_v1() -> None:
    assert root("http://h:1/v1/") == root("http://h:1/") == "http://h:1"
