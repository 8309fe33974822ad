from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from builders import pool
from fake_worker import Call, FakeWorker, delta, fake_workers, whole_answer
from gateways import CHAT, COMPLETIONS, Served, content_of, data_of, of, serving, until

from devices.worker import ApiPrice
from policies.api import FleetView, Placement, Request
from router.app import Patience
from router.ledger import Outcome


@pytest.fixture
async def fake() -> AsyncIterator[FakeWorker]:
    async with fake_workers(1) as [one]:
        yield one


@pytest.fixture
async def served(fake: FakeWorker) -> AsyncIterator[Served]:
    async with serving([of(fake, "w")]) as one:
        yield one


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, object]:
    assert answer.content_type == "application/json"
    assert answer.headers["x-request-id"]
    body = await answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, object] = body["error"]
    return error


async def test_a_streamed_chat_arrives_event_by_event_with_its_placement_in_the_head(
    fake: FakeWorker, served: Served
) -> None:
    served.headers["x-request-id"] = "mine-1"
    async with served.post(stream=True) as answer:
        events = data_of(await answer.text())
        head = answer.headers
    assert content_of(events) == "t0 t1 t2 "
    assert events[-1] == "[DONE]"
    assert (answer.status, answer.content_type, head["x-request-id"]) == (200, "text/event-stream", "mine-1")
    assert (head["x-tokenyard-prefill"], head["x-tokenyard-decode"]) == ("w", "w")
    quote = dict(part.split("=") for part in head["x-tokenyard-quote"].split(";"))
    assert list(quote) == ["ttft_s", "tpot_s", "usd"]
    assert all(float(value) > 0 for value in quote.values())
    entry = served.last
    assert (entry.outcome, entry.status, entry.output_tokens, entry.usage_estimated) == (
        Outcome.COMPLETED,
        200,
        3,
        False,
    )
    assert entry.ttft_s is not None
    assert 0 < entry.ttft_s <= (entry.e2e_s or 0)


async def test_a_chat_that_is_not_streamed_is_the_workers_own_bytes(fake: FakeWorker, served: Served) -> None:
    raw = orjson.dumps(whole_answer(), option=orjson.OPT_INDENT_2)

    async def script(call: Call) -> None:
        await call.raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(raw), raw))

    fake.script = script
    async with served.post() as answer:
        assert await answer.read() == raw
    assert (served.last.outcome, served.last.output_tokens) == (Outcome.COMPLETED, 4)


async def test_completions_go_to_completions(fake: FakeWorker, served: Served) -> None:
    async with served.post(COMPLETIONS) as answer:
        assert answer.status == 200
    assert fake.calls[0].path == COMPLETIONS


async def test_the_worker_gets_the_clients_fields_and_the_request_id_and_none_of_its_secrets(
    fake: FakeWorker, served: Served
) -> None:
    served.headers.update({"x-request-id": "r-7", "authorization": "Bearer secret", "cookie": "a=b"})
    async with served.post(model="default", top_k=5, kv_transfer_params={"remote_host": "evil"}) as answer:
        assert answer.status == 200
    call = fake.calls[0]
    assert (call.body["model"], call.body["top_k"]) == ("m", 5)
    assert "kv_transfer_params" not in call.body
    assert call.headers["x-request-id"] == "r-7"
    assert not {"authorization", "cookie"} & set(call.headers)


async def test_usage_is_counted_but_only_shown_to_those_who_ask(served: Served) -> None:
    assert not any('"usage"' in event for event in await served.events())
    assert served.last.output_tokens == 3
    assert any('"usage"' in event for event in await served.events(stream_options={"include_usage": True}))


async def test_models_are_listed_with_their_aliases(served: Served) -> None:
    async with served.http.get(served.app.url + "/v1/models") as answer:
        assert [model["id"] for model in (await answer.json())["data"]] == ["m", "default"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat/completions/", "//v1/models", "/v1/%6dodels", "/metrics"])
async def test_no_other_path_exists_and_none_reaches_a_worker(fake: FakeWorker, served: Served, path: str) -> None:
    reader, writer = await raw_connection(served)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert b"application/json" in head
    writer.close()
    assert not fake.calls


async def test_the_wrong_method_is_told_the_right_one(served: Served) -> None:
    async with served.http.get(served.app.url + CHAT) as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert (await error_of(answer))["code"] == "method_not_allowed"
    async with served.http.delete(served.app.url + "/v1/models") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


async def test_malformed_json_is_one_rejected_request(fake: FakeWorker, served: Served) -> None:
    async with served.send(b'{"model": "m", ') as answer:
        assert answer.status == 400
        assert (await error_of(answer))["code"] == "invalid_json"
    assert (served.last.outcome, served.last.reason, served.last.status) == (Outcome.REJECTED, "invalid", 400)
    assert served.app.ledger.received == 1
    assert not fake.calls


async def test_an_unknown_model_is_a_404_and_never_becomes_a_label(served: Served) -> None:
    async with served.post(model="gpt-9") as answer:
        assert answer.status == 404
        assert (await error_of(answer))["code"] == "model_not_found"
    assert served.last.model == ""


async def test_more_fields_than_any_client_needs_are_refused(fake: FakeWorker, served: Served) -> None:
    async with served.post(**{f"field{number}": 1 for number in range(1000)}) as answer:
        assert answer.status == 400
        assert "fields" in str((await error_of(answer))["message"])
    assert not fake.calls


async def test_the_parameter_at_fault_is_named(served: Served) -> None:
    async with served.post(temperature=9) as answer:
        error = await error_of(answer)
    assert (error["param"], error["type"]) == ("temperature", "invalid_request_error")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/xml"}, 415),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_a_body_must_be_plain_json_by_its_headers(served: Served, headers: dict[str, str], status: int) -> None:
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    async with served.send(body, **headers) as answer:
        assert answer.status == status


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_beyond_the_limit_is_refused_however_it_is_framed(fake: FakeWorker, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with serving([of(fake, "w")], limits={"body_bytes": 1000}) as served:
        data = pieces() if chunked else b"x" * 2000
        async with served.http.post(
            served.app.url + CHAT, data=data, headers={"content-type": "application/json"}
        ) as answer:
            assert answer.status == 413
            assert (await error_of(answer))["code"] == "request_too_large"
        assert served.last.reason == "invalid"


async def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    body = orjson.dumps({"model": "m", "prompt": "x"})
    reader, writer = await raw_connection(served)
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_an_unsafe_request_id_is_replaced_and_one_in_flight_is_made_unique(
    fake: FakeWorker, served: Served
) -> None:
    served.headers["x-request-id"] = "no spaces"
    async with served.post() as answer:
        assert answer.headers["x-request-id"] not in ("", "no spaces")
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await release.wait()
        await call.json(whole_answer())

    fake.script = wait
    served.headers["x-request-id"] = "twin"
    twins = [asyncio.ensure_future(served.post()) for _ in range(2)]
    await until(lambda: len(fake.calls) == 3)
    release.set()
    ids = {(await twin).headers["x-request-id"] for twin in twins}
    assert "twin" in ids
    assert len(ids) == 2
    for twin in twins:
        (await twin).release()


async def test_a_4xx_of_the_worker_is_the_clients_and_no_other_worker_is_asked() -> None:
    async def refuse(call: Call) -> None:
        said = {"message": "prompt\ntoo long", "type": "BadRequestError", "param": "prompt", "code": "too_long"}
        await call.json({"error": said}, 400)

    async with fake_workers(2) as fakes, serving([of(fake, f"w{i}") for i, fake in enumerate(fakes)]) as served:
        for fake in fakes:
            fake.script = refuse
        async with served.post() as answer:
            assert answer.status == 400
            error = await error_of(answer)
        assert (error["message"], error["param"], error["code"]) == ("prompt too long", "prompt", "too_long")
        assert sum(len(fake.calls) for fake in fakes) == 1
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "invalid")


async def test_a_full_queue_is_a_503_that_says_when_to_come_back(fake: FakeWorker) -> None:
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await release.wait()
        await call.json(whole_answer())

    fake.script = wait
    slots = of(fake, "w", like=pool("w", hard_slots=True, max_seqs=1))
    async with serving([slots], limits={"queue": 1}) as served:
        held = [asyncio.ensure_future(served.post()) for _ in range(2)]
        await until(lambda: served.app.scheduler.waiting == 1)
        async with served.post() as answer:
            assert (answer.status, (await error_of(answer))["code"]) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "overloaded")
        assert served.last.queue_s is not None
        release.set()
        for request in held:
            (await request).release()


@pytest.mark.parametrize(("headers", "status"), [({}, 503), ({"x-tokenyard-deadline-ms": "5"}, 408)])
async def test_a_request_that_waited_too_long_is_told_so(
    fake: FakeWorker, headers: dict[str, str], status: int
) -> None:
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await release.wait()
        await call.json(whole_answer())

    fake.script = wait
    slots = of(fake, "w", like=pool("w", hard_slots=True, max_seqs=1))
    async with serving([slots], limits={"queue_timeout_s": 0.02}) as served:
        held = asyncio.ensure_future(served.post())
        await fake.arrived.wait()
        served.headers = headers
        async with served.post() as answer:
            assert answer.status == status
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "deadline")
        assert (served.last.queue_s or 0.0) >= 0.005
        release.set()
        (await held).release()


async def test_without_a_worker_in_rotation_the_answer_is_503(fake: FakeWorker, served: Served) -> None:
    await fake.die()
    await until(lambda: not served.app.dispatcher.routable("w"))
    async with served.post() as answer:
        assert (answer.status, (await error_of(answer))["code"]) == (503, "no_healthy_worker")
    assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "no_worker")


async def test_a_bug_of_ours_is_a_500_without_its_traceback_which_is_in_the_log(
    fake: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
            raise ZeroDivisionError("policy went wrong")

    async with serving([of(fake, "w")], Broken()) as served:
        served.headers["x-request-id"] = "boom"
        async with served.post() as answer:
            assert answer.status == 500
            error = await error_of(answer)
        assert "policy" not in str(error)
        assert (served.last.outcome, served.last.reason) == (Outcome.FAILED, "internal")
    [line] = [entry for entry in caplog.records if entry.name == "tokenyard.gateway"]
    logged = orjson.loads(line.message)
    assert (line.levelname, logged["id"]) == ("ERROR", "boom")
    assert "policy went wrong" in logged["traceback"]


async def test_every_request_is_one_line_in_the_log_and_no_more(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        served.headers["x-request-id"] = "logged"
        await served.events()
        await until(lambda: not served.app.ledger.in_flight)
    [line] = [entry for entry in caplog.records if entry.name.startswith("tokenyard")]
    assert line.name == "tokenyard.request"
    said = orjson.loads(line.message)
    assert (said["id"], said["outcome"], said["placement"]["decode"]) == ("logged", "completed", "w")
    assert said["placement"]["quote"]["ttft_s"] > 0
    assert said["actual"]["output_tokens"] == 3


async def test_a_metered_pool_is_charged_by_its_price_and_a_rented_one_by_its_quote(fake: FakeWorker) -> None:
    api = of(fake, "api", like=pool("api", price=ApiPrice(1.0, 10.0)))
    async with serving([api]) as served, served.post() as answer:
        assert answer.status == 200
        await answer.read()
        assert served.last.usd == pytest.approx((2 * 1.0 + 4 * 10.0) / 1e6)
    async with serving([of(fake, "w")]) as served, served.post() as answer:
        await answer.read()
        assert served.last.placement is not None
        assert served.last.usd == served.last.placement.quote.usd_of(served.last.output_tokens) > 0


async def test_an_api_that_refuses_a_connection_stays_in_rotation_for_nothing_would_bring_it_back(
    fake: FakeWorker,
) -> None:
    api = of(fake, "api", like=pool("api", price=ApiPrice(1.0, 10.0)))
    async with serving([api]) as served:
        port = int(fake.url.rsplit(":", 1)[1])
        await fake.die()
        async with served.post() as answer:
            assert answer.status == 502
        await fake.listen(port)
        async with served.post() as answer:
            assert answer.status == 200
    assert not fake.health_checks


async def test_the_connection_serves_one_request_after_the_other(served: Served) -> None:
    reader, writer = await raw_connection(served)
    body = orjson.dumps({"model": "m", "prompt": "x", "stream": True})
    for _ in range(3):
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_an_http_1_0_client_gets_its_stream_ended_by_the_close(served: Served) -> None:
    reader, writer = await raw_connection(served)
    body = orjson.dumps({"model": "m", "prompt": "x", "stream": True})
    writer.write(b"POST /v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read()
    assert b"chunked" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")
    writer.close()


# draining


async def test_draining_turns_new_requests_away_and_lets_the_old_finish(fake: FakeWorker, served: Served) -> None:
    release = asyncio.Event()

    async def slow(call: Call) -> None:
        await call.head()
        await call.event(delta("first"))
        await release.wait()
        await call.event(delta(None, "stop"))
        await call.event("[DONE]")
        await call.end()

    fake.script = slow
    async with served.post(stream=True) as old:
        draining = asyncio.create_task(served.app.gateway.drain(5.0))
        await until(lambda: served.app.gateway.draining)
        async with served.post() as new:
            assert (new.status, (await error_of(new))["code"]) == (503, "server_shutting_down")
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "draining")
        release.set()
        assert data_of(await old.text())[-1] == "[DONE]"
    await draining
    assert served.last.outcome is Outcome.COMPLETED


async def test_what_outlives_the_drain_ends_in_an_error_in_band(fake: FakeWorker, served: Served) -> None:
    gone = asyncio.Event()

    async def endless(call: Call) -> None:
        await call.head()
        await call.event(delta("first"))
        await call.gone()
        gone.set()

    fake.script = endless
    async with served.post(stream=True) as answer:
        await served.app.gateway.drain(0.01)
        events = data_of(await answer.text())
    assert orjson.loads(events[-1])["error"]["code"] == "server_shutting_down"
    assert (served.last.outcome, served.last.reason) == (Outcome.DRAINED, "")
    await gone.wait()


# bytes that are not HTTP as it should be


async def raw_connection(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = served.app.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_the_answer_to_head_has_no_body_that_the_next_answer_would_be_taken_for(served: Served) -> None:
    reader, writer = await raw_connection(served)
    writer.write(b"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_client_that_asks_for_ever_and_takes_nothing_is_cut_off_without_a_word_in_the_log(
    fake: FakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving([of(fake, "w")], patience=Patience(write_stall_s=0.05)) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.setblocking(False)
        questions = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n" * 1_000_000
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(client, questions), 10)
        client.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
    ],
)
async def test_what_the_parser_refuses_is_answered_in_json_and_closed(
    served: Served, request_bytes: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await raw_connection(served)
    writer.write(request_bytes)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status
    assert b"x-request-id" in head.lower()
    error = orjson.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "aaaa" not in error["message"]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    writer.close()
