from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import orjson
import pytest
from builders import DECODE, PREFILL, pool
from fake_worker import KV, Call, FakeWorker, delta, fake_workers, good, whole_answer
from gateways import COMPLETIONS, Pairs, Served, at_rest, content_of, data_of, of, pair, serving, until
from prometheus_client.parser import text_string_to_metric_families

from devices.worker import Worker
from router.app import Patience
from router.ledger import Outcome

Script = Callable[[Call], Awaitable[None]]


@pytest.fixture
async def two() -> AsyncIterator[list[FakeWorker]]:
    async with fake_workers(2) as fakes:
        yield fakes


FIRST_THEN_SECOND = Pairs((("w0", "w0"), ("w1", "w1")))


def wholes(fakes: list[FakeWorker]) -> list:  # type: ignore[type-arg]
    return [of(fake, f"w{i}") for i, fake in enumerate(fakes)]


async def probed(served: Served, fakes: list[FakeWorker]) -> None:
    """The first look at every worker is over, so that the next to notice a fault is the request."""
    await until(lambda: all(fake.health_checks for fake in fakes) and not served.app.upstream.connections_in_use)


def error_in(events: list[str]) -> dict[str, object]:
    error: dict[str, object] = orjson.loads(events[-1])["error"]
    return error


# before the first byte: another worker


async def refuse_connection(fake: FakeWorker) -> None:
    await fake.die()


def answering(status: int) -> Callable[[FakeWorker], Awaitable[None]]:
    async def answer(call: Call) -> None:
        await call.json({"error": {"message": "no", "code": status}}, status)

    async def arrange(fake: FakeWorker) -> None:
        fake.script = answer

    return arrange


async def reset_at_once(fake: FakeWorker) -> None:
    async def reset(call: Call) -> None:
        call.reset()

    fake.script = reset


async def reset_after_the_head(fake: FakeWorker) -> None:
    async def reset(call: Call) -> None:
        await call.head()
        await call.event({"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]})
        call.reset()

    fake.script = reset


async def first_event_is_an_error(fake: FakeWorker) -> None:
    async def fail(call: Call) -> None:
        await call.head()
        await call.event({"error": {"message": "out of memory", "code": 503}})
        await call.end()

    fake.script = fail


async def nothing_in_the_stream(fake: FakeWorker) -> None:
    async def empty(call: Call) -> None:
        await call.head()
        await call.end()

    fake.script = empty


async def garbage(fake: FakeWorker) -> None:
    async def script(call: Call) -> None:
        await call.raw(b"\x00\x01 this is not HTTP\r\n\r\n")

    fake.script = script


async def redirect(fake: FakeWorker) -> None:
    async def script(call: Call) -> None:
        await call.raw(b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")

    fake.script = script


@pytest.mark.parametrize(
    "fault",
    [
        refuse_connection,
        answering(500),
        answering(503),
        answering(429),
        answering(401),
        reset_at_once,
        reset_after_the_head,
        first_event_is_an_error,
        nothing_in_the_stream,
        garbage,
        redirect,
    ],
)
async def test_a_failure_before_the_first_content_is_served_by_another_worker(
    two: list[FakeWorker], fault: Callable[[FakeWorker], Awaitable[None]]
) -> None:
    async with serving(wholes(two), FIRST_THEN_SECOND, limits={"probe_interval_s": 60.0}) as served:
        await probed(served, two)
        await fault(two[0])
        async with served.post(stream=True) as answer:
            assert answer.status == 200
            assert answer.headers["x-tokenyard-decode"] == "w1"
            assert content_of(data_of(await answer.text())) == "t0 t1 t2 "
        entry = served.last
        assert (entry.outcome, entry.attempts) == (Outcome.COMPLETED_AFTER_RETRY, 2)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (refuse_connection, 502, "upstream_error"),
        (answering(500), 502, "upstream_error"),
        (answering(429), 503, "upstream_error"),
        (first_event_is_an_error, 503, "upstream_error"),
        (nothing_in_the_stream, 502, "truncated"),
    ],
)
async def test_at_most_two_workers_are_tried_and_the_client_gets_a_real_status(
    fault: Callable[[FakeWorker], Awaitable[None]], status: int, reason: str
) -> None:
    async with fake_workers(3) as fakes:
        policy = Pairs((("w0", "w0"), ("w1", "w1"), ("w2", "w2")))
        async with serving(wholes(fakes), policy, limits={"probe_interval_s": 60.0}) as served:
            await probed(served, fakes)
            for fake in fakes[:2]:
                await fault(fake)
            async with served.post(stream=True) as answer:
                assert answer.status == status
                assert (await answer.json())["error"]["message"]
            assert not fakes[2].calls
            assert (served.last.outcome, served.last.reason) == (Outcome.FAILED, reason)


async def test_with_nobody_else_to_ask_the_first_failure_is_the_answer(two: list[FakeWorker]) -> None:
    await answering(500)(two[0])
    async with serving([of(two[0], "w0")]) as served, served.post() as answer:
        assert answer.status == 502
        assert served.last.attempts == 1


async def test_a_worker_that_refuses_connections_is_out_of_rotation_until_its_probe_finds_it(
    two: list[FakeWorker],
) -> None:
    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        port = int(two[0].url.rsplit(":", 1)[1])
        await two[0].die()
        async with served.post() as answer:
            assert answer.status == 200
        assert not served.app.dispatcher.routable("w0")
        await two[0].listen(port)
        await until(lambda: served.app.dispatcher.routable("w0"))


async def test_the_first_request_that_is_refused_takes_the_worker_out_of_rotation(two: list[FakeWorker]) -> None:
    async with serving(wholes(two), FIRST_THEN_SECOND, limits={"probe_interval_s": 60.0}) as served:
        await probed(served, two)
        await two[0].die()
        async with served.post() as answer:
            assert answer.status == 200
        assert not served.app.dispatcher.routable("w0")


# after the first byte: never another worker, never a false success


async def cut_with_reset(call: Call) -> None:
    await call.head()
    await call.event(delta("half"))
    call.reset()


async def cut_with_a_clean_close(call: Call) -> None:
    await call.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    await call.raw(b"data: " + orjson.dumps(delta("half")) + b"\n\n")
    call._writer.close()


async def ended_without_done(call: Call) -> None:
    await call.head()
    await call.event(delta("half", "stop"))
    await call.end()


async def done_without_a_finish_reason(call: Call) -> None:
    await call.head()
    await call.event(delta("half"))
    await call.event("[DONE]")
    await call.end()


@pytest.mark.parametrize(
    "script", [cut_with_reset, cut_with_a_clean_close, ended_without_done, done_without_a_finish_reason]
)
async def test_a_stream_that_stops_short_ends_in_an_error_in_band(two: list[FakeWorker], script: Script) -> None:
    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        two[0].script = script
        events = await served.events()
        assert content_of(events[:1]) == "half"
        assert "[DONE]" not in events
        assert error_in(events)["code"] == "upstream_error"
        assert (served.last.outcome, served.last.reason, served.last.status) == (Outcome.FAILED, "truncated", 200)
        assert (served.last.output_tokens, served.last.usage_estimated) == (1, True)
        assert not two[1].calls


async def test_an_error_event_in_the_middle_is_passed_on_in_our_words(two: list[FakeWorker]) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event(delta("half"))
        await call.event({"error": {"message": "CUDA error at 0xdeadbeef", "code": 500}})
        await call.event("[DONE]")
        await call.end()

    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        two[0].script = script
        events = await served.events()
        assert "[DONE]" not in events
        assert "0xdeadbeef" not in events[-1]
        assert error_in(events)["type"] == "server_error"
        assert (served.last.outcome, served.last.reason) == (Outcome.FAILED, "upstream_error")


async def test_a_whole_answer_without_a_finish_reason_is_no_success(two: list[FakeWorker]) -> None:
    async def script(call: Call) -> None:
        await call.json(whole_answer(finish=None))

    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        two[0].script = script
        async with served.post() as answer:
            assert answer.status == 200
        assert served.last.outcome is Outcome.COMPLETED_AFTER_RETRY


async def test_every_choice_must_finish(two: list[FakeWorker]) -> None:
    async def one_of_two(call: Call) -> None:
        await call.stream()

    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        two[0].script = one_of_two
        events = await served.events(n=2)
        assert "error" in events[-1]
        assert "[DONE]" not in events
        assert served.last.reason == "truncated"


@pytest.mark.parametrize(
    "noise", [b": ping\n\n", b'data: {"choices":[]}\n\n', b"x"], ids=["comments", "events", "bytes"]
)
async def test_noise_is_no_token_so_a_worker_that_makes_nothing_else_has_stalled(
    two: list[FakeWorker], noise: bytes
) -> None:
    async def noisy(call: Call) -> None:
        await call.head()
        await call.event(delta("half"))
        while True:
            await call.chunk(noise)
            await asyncio.sleep(0.01)

    async with serving(wholes(two), FIRST_THEN_SECOND, limits={"stall_timeout_s": 0.1}) as served:
        two[0].script = noisy
        events = await served.events()
        assert error_in(events)["code"] == "upstream_timeout"
        assert (served.last.outcome, served.last.reason) == (Outcome.FAILED, "stalled")
        await until(lambda: not two[0].connections or not served.app.upstream.connections_in_use)


@pytest.mark.parametrize("absurd", [-1, 10**18, 10**30, 2.5, "7", True, None])
async def test_an_absurd_count_of_the_worker_is_replaced_by_our_own(two: list[FakeWorker], absurd: object) -> None:
    async def script(call: Call) -> None:
        await call.head()
        await call.event(delta("one"))
        await call.event(delta("two", "stop"))
        usage = json.dumps({"prompt_tokens": absurd, "completion_tokens": absurd})
        await call.event(f'{{"choices":[],"usage":{usage}}}')
        await call.event("[DONE]")
        await call.end()

    async with serving(wholes(two), FIRST_THEN_SECOND) as served:
        two[0].script = script
        await served.events()
        assert (served.last.prompt_tokens, served.last.output_tokens) == (2, 2)


# the held head


async def test_a_slow_first_event_gets_comments_and_may_still_move_to_another_worker(two: list[FakeWorker]) -> None:
    fail = asyncio.Event()

    async def slow_then_dead(call: Call) -> None:
        await fail.wait()
        call.reset()

    two[0].script = slow_then_dead
    async with serving(wholes(two), FIRST_THEN_SECOND, limits={"head_hold_s": 0.01}) as served:
        async with served.post(stream=True) as answer:
            assert answer.status == 200
            assert await answer.content.readuntil(b"\n\n") == b": keep-alive\n\n"
            assert await answer.content.readuntil(b"\n\n") == b": keep-alive\n\n"
            fail.set()
            assert content_of(data_of((await answer.content.read()).decode())) == "t0 t1 t2 "
        assert served.last.outcome is Outcome.COMPLETED_AFTER_RETRY


async def test_once_the_worker_speaks_there_are_no_more_comments(two: list[FakeWorker]) -> None:
    async def halting(call: Call) -> None:
        await call.head()
        await call.event(delta("one"))
        await asyncio.sleep(0.1)
        await call.event(delta("two", "stop"))
        await call.event("[DONE]")
        await call.end()

    async with serving(wholes(two), FIRST_THEN_SECOND, limits={"head_hold_s": 0.02}) as served:
        two[0].script = halting
        async with served.post(stream=True) as answer:
            assert "keep-alive" not in (await answer.text())


async def test_once_200_is_committed_even_an_early_failure_is_in_band(two: list[FakeWorker]) -> None:
    fail = asyncio.Event()

    async def slow_then_refuse(call: Call) -> None:
        await fail.wait()
        await call.json({"error": {"message": "bad prompt"}}, 400)

    two[0].script = slow_then_refuse
    async with (
        serving(wholes(two), FIRST_THEN_SECOND, limits={"head_hold_s": 0.01}) as served,
        served.post(stream=True) as answer,
    ):
        await answer.content.readuntil(b"\n\n")
        fail.set()
        events = data_of((await answer.content.read()).decode())
        assert error_in(events)["message"] == "bad prompt"
        assert (served.last.outcome, served.last.status) == (Outcome.REJECTED, 200)


# two legs


async def test_a_split_request_prefills_here_and_decodes_there(two: list[FakeWorker]) -> None:
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        async with served.post(stream=True, max_tokens=7) as answer:
            assert (answer.headers["x-tokenyard-prefill"], answer.headers["x-tokenyard-decode"]) == ("p", "d")
            assert content_of(data_of(await answer.text())) == "t0 t1 t2 "
        [first], [second] = two[0].calls, two[1].calls
        assert (first.leg, first.body["max_tokens"], first.body.get("stream")) == ("prefill", 1, False)
        assert (second.leg, second.body["max_tokens"], second.body["kv_transfer_params"]) == ("decode", 7, KV)
        assert first.headers["x-request-id"] == second.headers["x-request-id"]
        async with served.post() as whole:
            assert (await whole.json())["choices"][0]["finish_reason"] == "stop"


async def handed_over_bytes(served: Served) -> float:
    async with served.http.get(served.app.operator_url + "/metrics") as page:
        samples = text_string_to_metric_families(await page.text())
    return sum(
        sample.value
        for family in samples
        for sample in family.samples
        if sample.name == "tokenyard_kv_transfer_bytes_total"
    )


def weighty_pair(prefill: FakeWorker, decode: FakeWorker) -> tuple[list[Worker], Pairs]:
    """A pair as in `pair` whose model has a shape, so that its KV has a size."""
    _, policy = pair(prefill, decode)
    pools = [pool(name, phases=phases, shape="llama-3.1-8b") for name, phases in (("p", PREFILL), ("d", DECODE))]
    return [of(fake, like.name, like=like) for fake, like in zip((prefill, decode), pools, strict=True)], policy


@pytest.mark.parametrize("stream", [True, False])
async def test_kv_that_was_handed_over_is_counted_however_the_answer_is_sent(
    two: list[FakeWorker], stream: bool
) -> None:
    workers, policy = weighty_pair(*two)
    async with serving(workers, policy) as served:
        async with served.post(stream=stream) as answer:
            await answer.read()
        await until(lambda: served.app.ledger.in_flight == 0)
        assert served.last.placement is not None
        assert await handed_over_bytes(served) == served.last.placement.quote.transfer_bytes > 0


async def test_kv_that_never_left_is_not_counted(two: list[FakeWorker]) -> None:
    async def refuse(call: Call) -> None:
        await call.json({"error": {"message": "no"}}, 500)

    workers, policy = weighty_pair(*two)
    async with serving(workers, policy) as served:
        async with served.post(COMPLETIONS, echo=True) as whole:  # cannot be split: decoded where it was prefilled
            assert whole.status == 200
        two[1].script = refuse
        async with served.post() as failed:
            assert failed.status == 502
        assert await handed_over_bytes(served) == 0


async def test_without_hand_over_parameters_the_decode_worker_prefills_itself(two: list[FakeWorker]) -> None:
    async def no_kv(call: Call) -> None:
        await call.json(whole_answer("", "length"))

    two[0].script = no_kv
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        assert content_of(await served.events()) == "t0 t1 t2 "
    assert two[1].legs == ["whole"]


async def test_kv_older_than_its_lease_is_never_decoded_from(two: list[FakeWorker]) -> None:
    now = 0.0
    prefills = []

    def late_once(line: bytes) -> None:
        """28 of 30 s pass between the first prefill and its decode leg."""
        nonlocal now
        if orjson.loads(line)["event"] == "prefilled":
            prefills.append(now)
            now += 28.0 if len(prefills) == 1 else 0.0

    async with fake_workers(1) as [spare]:
        workers = [of(two[0], "p", PREFILL), of(spare, "q", PREFILL), of(two[1], "d", DECODE)]
        async with serving(workers, Pairs((("p", "d"), ("q", "d"))), clock=lambda: now, journal=late_once) as served:
            assert content_of(await served.events()) == "t0 t1 t2 "
            assert served.last.attempts == 2
    assert two[0].legs == ["prefill"]
    assert spare.legs == ["prefill"]
    assert two[1].legs == ["decode"]


async def test_a_dead_decode_worker_means_another_pair_and_a_new_prefill(two: list[FakeWorker]) -> None:
    async with fake_workers(1) as [spare]:
        workers = [of(two[0], "p", PREFILL), of(two[1], "d", DECODE), of(spare, "s", DECODE)]
        async with serving(workers, Pairs((("p", "d"), ("p", "s"))), limits={"probe_interval_s": 60.0}) as served:
            await probed(served, [*two, spare])
            await two[1].die()
            assert content_of(await served.events()) == "t0 t1 t2 "
            assert served.last.outcome is Outcome.COMPLETED_AFTER_RETRY
    assert two[0].legs == ["prefill", "prefill"]
    assert spare.legs == ["decode"]


async def test_a_failed_decode_leg_still_makes_the_prefill_worker_let_go(two: list[FakeWorker]) -> None:
    answers = iter([503, 200])

    async def busy_once(call: Call) -> None:
        status = next(answers)
        await (call.json({}, status) if status != 200 else good(call))

    two[1].script = busy_once
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        async with served.post() as answer:
            assert answer.status == 503
        await until(lambda: at_rest(served.app))
    assert two[1].legs == ["decode", "decode"]
    assert two[1].calls[1].body["max_tokens"] == 1


# the client leaves


async def leave(answer: asyncio.Future[aiohttp.ClientResponse]) -> None:
    answer.cancel()
    await asyncio.gather(answer, return_exceptions=True)


async def cancelled_alone(served: Served) -> None:
    await until(lambda: at_rest(served.app))
    assert served.last.outcome is Outcome.CLIENT_CANCELLED
    assert served.app.ledger.received == 1


async def hang(call: Call) -> None:
    await call.gone()


async def test_leaving_the_queue_frees_the_place_in_it(two: list[FakeWorker]) -> None:
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await release.wait()
        await call.json(whole_answer())

    two[0].script = wait
    slots = of(two[0], "w", like=pool("w", hard_slots=True, max_seqs=1))
    async with serving([slots]) as served:
        holder = asyncio.ensure_future(served.post())
        await two[0].arrived.wait()
        waiter = asyncio.ensure_future(served.post())
        await until(lambda: served.app.scheduler.waiting == 1)
        await leave(waiter)
        await until(lambda: served.app.scheduler.waiting == 0)
        assert served.last.outcome is Outcome.CLIENT_CANCELLED
        release.set()
        (await holder).release()
    assert len(two[0].calls) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_before_the_head_closes_the_workers_connection(two: list[FakeWorker], stream: bool) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.gone()
        gone.set()

    two[0].script = script
    async with serving([of(two[0], "w")]) as served:
        answer = asyncio.ensure_future(served.post(stream=stream))
        await two[0].arrived.wait()
        await leave(answer)
        await gone.wait()
        await cancelled_alone(served)


async def test_leaving_in_the_middle_of_a_stalled_stream_closes_the_workers_connection(two: list[FakeWorker]) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.head()
        await call.event(delta("first"))
        await call.gone()
        gone.set()

    two[0].script = script
    async with serving([of(two[0], "w")]) as served:
        async with served.post(stream=True) as answer:
            await answer.content.readuntil(b"\n\n")
            answer.close()
        await gone.wait()
        await cancelled_alone(served)


async def test_leaving_during_prefill_closes_that_connection_and_decodes_nothing(two: list[FakeWorker]) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.gone()
        gone.set()

    two[0].script = script
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        answer = asyncio.ensure_future(served.post())
        await two[0].arrived.wait()
        await leave(answer)
        await gone.wait()
        await cancelled_alone(served)
    assert not two[1].calls


async def test_a_prefill_answer_that_crosses_the_clients_leaving_is_still_handed_over(two: list[FakeWorker]) -> None:
    decoded = asyncio.Event()

    async def answer_all_the_same(call: Call) -> None:
        await call.gone()  # it had finished, and writes before it looks at its connection again
        await good(call)

    async def decode(call: Call) -> None:
        await decoded.wait()
        await good(call)

    two[0].script, two[1].script = answer_all_the_same, decode
    await leave_during_prefill(two, decoded)


async def test_leaving_in_the_middle_of_the_prefill_answer_still_hands_over(two: list[FakeWorker]) -> None:
    body = orjson.dumps(whole_answer("", "length", kv_transfer_params=KV))
    rest = asyncio.Event()

    async def in_two_parts(call: Call) -> None:
        await call.head(kind="application/json")
        await call.chunk(body[:20])
        await rest.wait()
        await call.chunk(body[20:])
        await call.end()

    two[0].script = in_two_parts
    await leave_during_prefill(two, rest)


async def leave_during_prefill(two: list[FakeWorker], proceed: asyncio.Event) -> None:
    """The client leaves; until `proceed` the reservations stay, and then the decode worker has fetched the KV."""
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        answer = asyncio.ensure_future(served.post(stream=True))
        await two[0].arrived.wait()
        await leave(answer)
        await until(lambda: served.app.reaper.pending == 1)
        assert served.app.scheduler.reserved == 1
        proceed.set()
        await cancelled_alone(served)
    assert two[1].legs == ["decode"]
    assert two[1].calls[0].body["max_tokens"] == 1


@pytest.mark.parametrize("head_sent", [True, False])
async def test_leaving_before_the_first_decoded_token_has_the_kv_fetched_and_dropped(
    two: list[FakeWorker], head_sent: bool
) -> None:
    release = asyncio.Event()

    async def script(call: Call) -> None:
        if call.body.get("stream"):
            if head_sent:
                await call.head()
            await call.gone()
        else:
            await release.wait()
            await good(call)

    two[1].script = script
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        answer = asyncio.ensure_future(served.post(stream=True, max_tokens=50))
        await two[1].arrived.wait()
        await leave(answer)
        await until(lambda: len(two[1].calls) == 2)
        assert served.app.scheduler.reserved == 1
        release.set()
        await cancelled_alone(served)
    abandoned = two[1].calls[1]
    assert abandoned.leg == "decode"
    assert (abandoned.body["max_tokens"], abandoned.body.get("stream")) == (1, False)


async def test_leaving_after_the_first_decoded_token_owes_the_prefill_worker_nothing(two: list[FakeWorker]) -> None:
    gone = asyncio.Event()

    async def script(call: Call) -> None:
        await call.head()
        await call.event(delta("first"))
        await call.gone()
        gone.set()

    two[1].script = script
    workers, policy = pair(*two)
    async with serving(workers, policy) as served:
        async with served.post(stream=True) as answer:
            await answer.content.readuntil(b"\n\n")
            answer.close()
        await gone.wait()
        await cancelled_alone(served)
    assert two[1].legs == ["decode"]


async def test_a_client_that_closes_as_soon_as_it_has_its_answer_was_served(two: list[FakeWorker]) -> None:
    async def no_last_chunk(call: Call) -> None:
        await call.head()
        await call.event(delta("all", "stop"))
        await call.event("[DONE]")
        await call.gone()

    two[0].script = no_last_chunk
    async with serving([of(two[0], "w")]) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = orjson.dumps({"model": "m", "prompt": "hello", "stream": True})
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"[DONE]")
        writer.close()  # an HTTP client would keep the connection, for its answer is whole
        await until(lambda: at_rest(served.app))
        assert served.last.outcome is Outcome.COMPLETED


async def test_a_client_that_takes_nothing_is_cut_off_and_its_worker_freed(two: list[FakeWorker]) -> None:
    gone = asyncio.Event()

    async def endless(call: Call) -> None:
        await call.head()
        try:
            while True:
                await call.event(delta("x" * 60_000))
        except ConnectionError:
            gone.set()

    two[0].script = endless

    async with serving([of(two[0], "w")], patience=Patience(write_stall_s=0.05)) as served:
        host, port = served.app.url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        body = orjson.dumps({"model": "m", "prompt": "x", "stream": True})
        client.send(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await gone.wait()
        await until(lambda: at_rest(served.app))
        assert (served.last.outcome, served.last.reason) == (Outcome.FAILED, "write_stall")
        client.close()
