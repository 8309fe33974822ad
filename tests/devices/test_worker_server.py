"""The simulated worker over real sockets: vLLM's endpoints, its errors, and every way a client can leave."""

from __future__ import annotations

import asyncio
import select
import socket
import struct

import aiohttp
import orjson
import pytest
from simulated_workers import CHAT, COMPLETIONS, PROMPT, Running, data_of, simulated, until

from devices.simulated.worker_server import WorkerServer

HELLO = [{"role": "user", "content": PROMPT}]


async def answered(worker: Running, path: str = COMPLETIONS, **body: object) -> bytes:
    """The answer to one request, after as much model time as it needs."""
    async with asyncio.TaskGroup() as tasks:
        request = tasks.create_task(read(worker, path, **body))
        await until(lambda: worker.server.worker.submitted > 0)
        worker.clock.move_to(worker.clock.now_s + 10_000)
    return request.result()


async def read(worker: Running, path: str, **body: object) -> bytes:
    async with worker.post(path, **body) as response:
        assert response.status == 200
        return await response.read()


async def test_a_completion_is_answered_whole() -> None:
    async with simulated() as worker:
        body = orjson.loads(await answered(worker, max_tokens=5))
    assert (body["object"], body["model"]) == ("text_completion", "m")
    assert len(body["choices"][0]["text"]) == 20
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["prompt_tokens"] == 100
    assert body["usage"]["completion_tokens"] == 5
    assert body["kv_transfer_params"] is None


async def test_a_chat_is_answered_whole_and_the_same_prompt_gets_the_same_answer() -> None:
    async with simulated() as worker:
        first = orjson.loads(await answered(worker, CHAT, messages=HELLO))
    async with simulated() as worker:
        second = orjson.loads(await answered(worker, CHAT, messages=HELLO))
    assert first["id"].startswith("chatcmpl-")
    assert first["choices"] == second["choices"]
    assert first["choices"][0]["finish_reason"] == "stop"
    assert first["usage"]["completion_tokens"] == 128


async def test_a_stream_sends_one_event_a_token_at_the_moment_it_is_made() -> None:
    async with simulated() as worker, worker.post(CHAT, messages=HELLO, stream=True, max_tokens=3) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        worker.clock.move_to(2.0)
        role = await event(response)
        first = await event(response)
        assert role["choices"][0]["delta"]["role"] == "assistant"
        assert len(first["choices"][0]["delta"]["content"]) == 4
        worker.clock.move_to(3.0)
        assert (await event(response))["choices"][0]["finish_reason"] is None
        worker.clock.move_to(4.0)
        assert (await event(response))["choices"][0]["finish_reason"] == "length"
        assert data_of(await response.read()) == ["[DONE]"]


async def event(response: aiohttp.ClientResponse) -> dict[str, list[dict[str, dict[str, str]]]]:
    line = (await response.content.readuntil(b"\n\n")).removeprefix(b"data: ")
    found: dict[str, list[dict[str, dict[str, str]]]] = orjson.loads(line)
    return found


async def test_a_stream_ends_with_usage_if_asked_and_its_text_is_that_of_the_whole_answer() -> None:
    async with simulated() as worker:
        whole = orjson.loads(await answered(worker, max_tokens=40))
    async with simulated() as worker:
        text = await answered(worker, max_tokens=40, stream=True, stream_options={"include_usage": True})
    *events, usage, done = data_of(text)
    assert done == "[DONE]"
    assert orjson.loads(usage)["usage"] == whole["usage"]
    assert "".join(orjson.loads(e)["choices"][0]["text"] for e in events) == whole["choices"][0]["text"]


async def test_the_request_id_of_the_caller_names_the_answer_and_may_repeat() -> None:
    async with simulated() as worker:
        async with asyncio.TaskGroup() as tasks:
            both = [tasks.create_task(named(worker, "req-7")) for _ in range(2)]
            await until(lambda: worker.server.worker.submitted == 2)
            worker.clock.move_to(100.0)
        assert [request.result() for request in both] == ["cmpl-req-7"] * 2


async def named(worker: Running, request_id: str) -> str:
    body = orjson.dumps({"prompt": PROMPT, "max_tokens": 1})
    async with worker.http.post(worker.url + COMPLETIONS, data=body, headers={"X-Request-Id": request_id}) as response:
        return str((await response.json())["id"])


async def test_small_endpoints_answer_as_vllm_does() -> None:
    async with simulated() as worker:
        assert await worker.get("/health") == b""
        assert await worker.get("/ping") == b""
        assert "version" in orjson.loads(await worker.get("/version"))
        [model] = orjson.loads(await worker.get("/v1/models"))["data"]
        assert (model["id"], model["max_model_len"]) == ("m", 8000)


async def test_a_small_kv_cache_bounds_the_context() -> None:
    async with simulated(kv_tokens=1000) as worker:
        [model] = orjson.loads(await worker.get("/v1/models"))["data"]
        assert model["max_model_len"] == 992
        async with worker.post(max_tokens=900) as response:
            assert response.status == 400
            assert "maximum context length is 992 tokens" in (await response.json())["error"]["message"]


async def test_errors_have_the_shape_of_vllm() -> None:
    async with simulated() as worker:
        async with worker.post(model="other") as response:
            assert response.status == 404
            assert (await response.json())["error"]["type"] == "NotFoundError"
        async with worker.http.post(worker.url + CHAT, data=b"{") as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == 400


async def test_metrics_count_in_model_seconds_under_the_names_of_vllm() -> None:
    async with simulated() as worker:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read(worker, COMPLETIONS, max_tokens=3))
            await until(lambda: worker.server.worker.running == 1)
            assert await worker.metric("vllm:num_requests_running") == 1
            assert await worker.metric("vllm:kv_cache_usage_perc") == 112 / 16_000
            worker.clock.move_to(4.0)
        assert await worker.metric("vllm:num_requests_running") == 0
        assert await worker.metric("vllm:num_requests_waiting") == 0
        assert await worker.metric("vllm:prompt_tokens_total") == 100
        assert await worker.metric("vllm:prefix_cache_queries_total") == 100
        assert await worker.metric("vllm:prefix_cache_hits_total") == 0
        assert await worker.metric("vllm:num_preemptions_total") == 0
        assert await worker.metric("vllm:generation_tokens_total") == 3
        assert await worker.metric("vllm:time_to_first_token_seconds_sum") == 2.0
        assert await worker.metric("vllm:inter_token_latency_seconds_count") == 2
        assert await worker.metric("vllm:inter_token_latency_seconds_sum") == 2.0
        assert await worker.metric("vllm:request_time_per_output_token_seconds_sum") == 1.0
        assert await worker.metric("vllm:e2e_request_latency_seconds_sum") == 4.0
        assert await worker.metric("vllm:request_queue_time_seconds_sum") == 0.0
        text = (await worker.get("/metrics")).decode()
        assert 'vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 1.0' in text
        assert 'vllm:cache_config_info{block_size="16",engine="0",model_name="m",num_gpu_blocks="1000"} 1.0' in text
        assert 'vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="m"} 0.0' in text
        assert 'vllm:time_to_first_token_seconds_bucket{engine="0",le="2.5",model_name="m"} 1.0' in text


async def test_the_state_shows_who_waits_for_room() -> None:
    async with simulated(max_seqs=1) as worker:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(read(worker, COMPLETIONS, max_tokens=3))
            await until(lambda: worker.server.worker.submitted == 2)
            state = await worker.state()
            assert (state["running"], state["waiting"], state["kv_tokens"]) == (1, 1, 112)
            assert await worker.metric("vllm:num_requests_waiting") == 1
            worker.clock.move_to(100.0)
        state = await worker.state()
        assert (state["submitted"], state["finished"], state["kv_tokens"], state["model_s"]) == (2, 2, 0, 100.0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("goodbye", ["close", "reset", "half-close"])
@pytest.mark.parametrize(("moment", "state"), [(0.0, "waiting"), (1.0, "running"), (53.0, "running")])
async def test_a_client_that_leaves_frees_its_sequence_at_once(
    stream: bool, goodbye: str, moment: float, state: str
) -> None:
    """While it waits in the queue, while it prefills (from 50.0 s on when it waited), while it decodes."""
    async with simulated(max_seqs=1) as worker:
        simulator = worker.server.worker
        if state == "waiting":
            occupant = asyncio.create_task(read(worker, COMPLETIONS, max_tokens=3))
            await until(lambda: simulator.running == 1)
        leaver = await connected(worker, stream=stream)
        await until(lambda: simulator.submitted == (2 if state == "waiting" else 1))
        worker.clock.move_to(moment)
        assert (simulator.waiting, simulator.running) == ((1, 1) if state == "waiting" else (0, 1))
        leave(leaver, goodbye)
        await until(lambda: simulator.aborted == 1)
        assert simulator.kv_tokens == (112 if state == "waiting" else 0)
        assert (await worker.state())["aborted"] == 1
        if state == "waiting":
            worker.clock.move_to(100.0)
            await occupant
        leaver.close()


async def test_a_write_that_meets_a_closed_connection_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with simulated() as worker:
        leaver = await connected(worker, stream=True)
        await until(lambda: worker.server.worker.submitted == 1)
        worker.clock.move_to(60.0)
        await until(lambda: bool(select.select([leaver], [], [], 0)[0]))
        leave(leaver, "reset")
        worker.clock.move_to(1000.0)  # the last token and the end are written before the loop reads the reset
        await until(lambda: worker.server.worker.finished == 1)
        await worker.state()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def connected(worker: Running, *, stream: bool) -> socket.socket:
    """A client's own socket with one request sent on it."""
    host, port = worker.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.setblocking(False)
    body = orjson.dumps({"prompt": PROMPT, "max_tokens": 100, "stream": stream})
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    await asyncio.get_running_loop().sock_sendall(client, head + body)
    return client


def leave(client: socket.socket, goodbye: str) -> None:
    if goodbye == "half-close":
        client.shutdown(socket.SHUT_WR)
        return
    if goodbye == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def test_a_client_that_stops_reading_is_cut_off() -> None:
    async with simulated(kv_tokens=64_000) as worker:
        simulator = worker.server.worker
        client = await connected_streamer(worker)
        await until(lambda: simulator.submitted == 1)
        while not simulator.aborted:  # what is not read fills the kernel's buffers first
            worker.clock.move_to(worker.clock.now_s + 500)
            await asyncio.sleep(0)
            assert not simulator.finished
        assert simulator.kv_tokens == 0
        client.close()


async def connected_streamer(worker: Running) -> socket.socket:
    host, port = worker.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    long_name = b"x" * 8000  # repeated in every event, so that fewer tokens fill the buffers
    body = orjson.dumps({"prompt": PROMPT, "max_tokens": 7000, "ignore_eos": True, "stream": True})
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
    client.sendall(head % (long_name, len(body)) + body)
    return client


async def test_a_stopped_server_closes_what_is_open() -> None:
    async with simulated() as worker:
        async with worker.post(stream=True) as response:
            await until(lambda: worker.server.worker.running == 1)
            await worker.server.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        assert (worker.server.worker.running, worker.server.worker.aborted) == (0, 1)


async def test_a_port_in_use_is_an_os_error_and_leaves_nothing_open() -> None:
    async with simulated() as worker:
        taken = WorkerServer(
            worker.server.identity.__class__(name="x", pool="p", model="m", port=int(worker.url.rpartition(":")[2])),
            worker.server.worker._predictor,
            worker.server.worker.limits,
        )
        with pytest.raises(OSError, match="address already in use"):
            await taken.__aenter__()


async def test_the_ready_line_says_who_and_where() -> None:
    async with simulated("gpu-0") as worker:
        assert worker.server.ready_line == (
            f"worker gpu-0 ready on {worker.url} (simulated, m, 1 chip, decode, prefill)"
        )
