"""KV handed from a prefill worker to a decode worker over real sockets: on time, too late, lost, and abandoned."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from simulated_workers import CHAT, COMPLETIONS, PROMPT, HandClock, Running, data_of, simulated, until

from devices.simulated.engine import State
from devices.worker import Link

PREFILL_LEG = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
LINK = Link(bytes_per_s=50_000.0, latency_s=1.0)
"""100 tokens of 1,000 bytes take 3 s."""

Params = dict[str, object]


@dataclass
class Pair:
    prefill: Running
    decode: Running
    clock: HandClock

    async def prefilled(self, path: str = COMPLETIONS, **body: object) -> Params:
        """Run a prefill leg (2 s of model time) and give what its decode leg must carry."""
        submitted = self.prefill.server.worker.submitted
        async with asyncio.TaskGroup() as tasks:
            leg = {"max_tokens": 1, "stream": False, "kv_transfer_params": PREFILL_LEG, **body}
            request = tasks.create_task(self.prefill.json(path, **leg))
            await until(lambda: self.prefill.server.worker.submitted > submitted)
            self.clock.move_to(self.clock.now_s + 2.0)
        params = request.result()["kv_transfer_params"]
        assert isinstance(params, dict)
        return params

    def decoding(self, params: Params, **body: object) -> asyncio.Task[dict[str, object]]:
        """Start a decode leg of three tokens."""
        body = {"max_tokens": 3, "kv_transfer_params": params, **body}
        return asyncio.create_task(self.decode.json(COMPLETIONS, **body))

    async def transferring(self) -> None:
        await until(lambda: self.decode.server.worker.transferring == 1)

    async def let_go(self) -> None:
        """The prefill worker holds nothing any more, and no lease had to end for it."""
        await until(lambda: self.prefill.server.worker.kv_tokens == 0)
        assert self.prefill.server.worker.lease_expired == 0


@asynccontextmanager
async def pair(*, decode_kv: int = 16_000, linked: bool = True, engine: str = "vllm") -> AsyncIterator[Pair]:
    clock = HandClock()
    links = {"gpu": LINK} if linked else {}
    async with (
        simulated("gpu-0", "gpu", clock=clock) as prefill,
        simulated("lpu-0", "lpu", clock=clock, links=links, kv_tokens=decode_kv, engine=engine) as decode,
    ):
        yield Pair(prefill, decode, clock)


async def finished(request: asyncio.Task[dict[str, object]], clock: HandClock) -> dict[str, object]:
    """The answer, after as much model time as it takes."""
    while not request.done():
        clock.move_to(clock.now_s + 0.5)
        await asyncio.sleep(0.001)
    return request.result()


def cached(answer: dict[str, object]) -> object:
    usage = answer["usage"]
    assert isinstance(usage, dict)
    return usage["prompt_tokens_details"]


async def test_a_prefill_leg_answers_where_its_kv_lies() -> None:
    async with pair() as p:
        params = await p.prefilled()
        assert {name: params[name] for name in params.keys() - {"remote_request_id"}} == {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_block_ids": [[0, 1, 2, 3, 4, 5, 6]],
            "remote_engine_id": "gpu:gpu-0",
            "remote_host": "127.0.0.1",
            "remote_port": int(p.prefill.url.rpartition(":")[2]),
            "tp_size": 1,
            "dcp_size": 1,
            "pp_size": 1,
            "remote_num_tokens": 100,
            "remote_blocks_expiry_time": None,
            "transfer_mode": "pull",
        }
        assert p.prefill.server.worker.pinned_tokens == 112
        assert (await p.prefilled())["remote_block_ids"] == [[7, 8, 9, 10, 11, 12, 13]]


async def test_a_streamed_prefill_leg_says_it_in_the_last_event() -> None:
    async with pair() as p, p.prefill.post(max_tokens=1, stream=True, kv_transfer_params=PREFILL_LEG) as response:
        p.clock.move_to(2.0)
        *_, last, done = data_of(await response.read())
        assert done == "[DONE]"
        assert orjson.loads(last)["kv_transfer_params"]["remote_num_tokens"] == 100


async def test_a_decode_leg_waits_for_the_transfer_then_answers_as_one_worker_would_have() -> None:
    async with pair() as p:
        params = await p.prefilled()
        request = p.decoding(params)
        await p.transferring()
        assert p.decode.server.worker.kv_tokens == 112  # reserved before the KV is there
        p.clock.move_to(4.9)
        assert p.prefill.server.worker.pinned_tokens == 112
        p.clock.move_to(5.0)
        await p.let_go()
        answer = await finished(request, p.clock)
        assert cached(answer) == {"cached_tokens": 100}
        assert await p.decode.metric("vllm:time_to_first_token_seconds_sum") == 4.0  # 3 s of transfer, 1 s of decode
        assert await p.decode.metric("vllm:nixl_xfer_time_seconds_sum") == 3.0
        assert await p.decode.metric("vllm:nixl_bytes_transferred_sum") == 100_000
        assert await p.decode.metric("vllm:nixl_num_failed_transfers_total") == 0
        whole = asyncio.create_task(p.decode.json(COMPLETIONS, max_tokens=3))
        assert (await finished(whole, p.clock))["choices"] == answer["choices"]


async def test_a_streamed_chat_is_handed_over_too() -> None:
    async with pair() as p:
        chat = {"messages": [{"role": "user", "content": PROMPT}]}
        params = await p.prefilled(CHAT, **chat)
        async with p.decode.post(CHAT, **chat, stream=True, max_tokens=3, kv_transfer_params=params) as response:
            await p.transferring()
            p.clock.move_to(5.0)
            await p.let_go()
            p.clock.move_to(9.0)
            assert len(data_of(await response.read())) == 5
        assert p.decode.server.worker.finished == 1


async def test_a_lease_that_ends_before_the_pull_means_prefill_again_and_never_stale_kv() -> None:
    async with pair() as p:
        params = await p.prefilled()
        p.clock.move_to(32.0)
        assert p.prefill.server.worker.lease_expired == 1
        answer = await finished(p.decoding(params), p.clock)
        assert cached(answer) is None
        assert await p.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == 1
        assert await p.decode.metric("vllm:nixl_num_failed_transfers_total") == 1
        assert (await p.decode.state())["failed_transfers"] == 1
        assert await p.decode.metric("vllm:time_to_first_token_seconds_sum") == 2.0  # its own prefill


async def test_heartbeats_keep_the_lease_while_the_decode_worker_is_full() -> None:
    async with pair(decode_kv=208) as p:
        occupant = asyncio.create_task(p.decode.json(COMPLETIONS, max_tokens=90))
        await until(lambda: p.decode.server.worker.running == 1)
        params = await p.prefilled()
        request = p.decoding(params)
        await until(lambda: p.decode.server.worker.waiting == 1)
        while not occupant.done():
            p.clock.move_to(p.clock.now_s + 4.0)
            await until(lambda: p.prefill.server.worker.next_event_s > p.clock.now_s + 20.0)  # the lease, renewed
        assert p.clock.now_s > 60.0  # two leases
        answer = await finished(request, p.clock)
        assert cached(answer) == {"cached_tokens": 100}
        await p.let_go()


async def test_a_lease_lost_while_waiting_means_prefill_again() -> None:
    async with pair(decode_kv=208) as p:
        occupant = asyncio.create_task(p.decode.json(COMPLETIONS, max_tokens=90))
        await until(lambda: p.decode.server.worker.running == 1)
        params = await p.prefilled()
        request = p.decoding(params)
        await until(lambda: p.decode.server.worker.waiting == 1)
        await released(p.prefill, params)
        p.clock.move_to(p.clock.now_s + 5.0)  # the next heartbeat
        await until(lambda: p.decode.server.worker.submitted == 3)
        answer = await finished(request, p.clock)
        assert cached(answer) is None
        assert p.decode.server.worker.aborted == 1  # the leg that waited for the KV
        assert (await p.decode.state())["failed_transfers"] == 1
        await occupant


async def released(worker: Running, params: Params) -> int:
    body = orjson.dumps({"engine_id": params["remote_engine_id"], "request_id": params["remote_request_id"]})
    async with worker.http.post(worker.url + "/nixl/done", data=body) as response:
        return response.status


async def test_kv_that_vanished_during_the_transfer_is_never_served() -> None:
    async with pair() as p:
        params = await p.prefilled()
        async with p.decode.post(max_tokens=3, stream=True, kv_transfer_params=params) as response:
            await p.transferring()
            assert await released(p.prefill, params) == 200
            p.clock.move_to(5.0)
            await until(lambda: p.decode.server.worker.submitted == 2)
            assert p.decode.server.worker.aborted == 1
            p.clock.move_to(50.0)
            assert len(data_of(await response.read())) == 4
        assert await p.decode.metric("vllm:nixl_num_failed_transfers_total") == 1


async def test_a_prefill_worker_that_died_means_prefill_again() -> None:
    async with pair() as p:
        params = await p.prefilled()
        await p.prefill.server.__aexit__(None, None, None)
        answer = await finished(p.decoding(params), p.clock)
        assert cached(answer) is None
        assert (await p.decode.state())["failed_transfers"] == 1


@pytest.mark.parametrize("change", [{"remote_engine_id": "gpu:other"}, {"remote_request_id": "ghost"}])
async def test_kv_of_another_engine_or_request_is_not_there(change: Params) -> None:
    async with pair() as p:
        params = await p.prefilled()
        answer = await finished(p.decoding({**params, **change}), p.clock)
        assert cached(answer) is None
        assert p.prefill.server.worker.pinned_tokens == 112
        assert await released(p.prefill, params) == 200


@pytest.mark.parametrize("host", ["::1", "no host", "127.0.0.1:1/x?"])
async def test_an_address_that_answers_nothing_means_prefill_here(host: str) -> None:
    async with pair() as p:
        params = await p.prefilled()
        assert cached(await finished(p.decoding({**params, "remote_host": host}), p.clock)) is None
        assert await released(p.prefill, params) == 200


async def test_a_longer_prompt_than_was_prefilled_is_prefilled_here_and_the_kv_let_go() -> None:
    async with pair() as p:
        params = await p.prefilled()
        answer = await finished(p.decoding(params, prompt=PROMPT * 2), p.clock)
        assert cached(answer) is None
        await p.let_go()


async def test_without_a_link_nothing_moves_and_the_kv_is_let_go() -> None:
    async with pair(linked=False) as p:
        params = await p.prefilled()
        answer = await finished(p.decoding(params), p.clock)
        assert cached(answer) is None
        await p.let_go()


async def test_a_plain_openai_worker_knows_no_hand_over() -> None:
    async with pair(engine="openai") as p:
        params = await p.prefilled()
        assert cached(await finished(p.decoding(params), p.clock)) is None
        pinning = asyncio.create_task(p.decode.json(COMPLETIONS, max_tokens=1, kv_transfer_params=PREFILL_LEG))
        assert (await finished(pinning, p.clock))["kv_transfer_params"] is None
        assert await released(p.decode, params) == 404
        assert await released(p.prefill, params) == 200


@pytest.mark.parametrize("moment", ["waiting", "transfer", "decode"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_decode_leg_whose_client_leaves_frees_both_workers(moment: str, stream: bool) -> None:
    async with pair(decode_kv=208) as p:
        params = await p.prefilled()
        simulator = p.decode.server.worker
        if moment == "waiting":
            occupant = asyncio.create_task(p.decode.json(COMPLETIONS, max_tokens=90))
            await until(lambda: simulator.running == 1)
        request = asyncio.create_task(drained(p.decode, params, stream))
        await until(lambda: simulator.waiting + simulator.transferring == 1)
        if moment == "decode":
            p.clock.move_to(6.5)
            assert simulator.running == 1
        request.cancel()
        await until(lambda: simulator.aborted == 1)
        await p.let_go()
        if moment == "waiting":
            await finished(occupant, p.clock)
        assert (simulator.kv_tokens, simulator.transferring) == (0, 0)


async def drained(worker: Running, params: Params, stream: bool) -> bytes:
    async with worker.post(max_tokens=50, stream=stream, kv_transfer_params=params) as response:
        return await response.read()


async def test_a_decode_leg_of_one_token_makes_the_prefill_worker_let_go() -> None:
    async with pair() as p:
        params = await p.prefilled()
        await finished(p.decoding(params, max_tokens=1), p.clock)
        await p.let_go()
        assert p.prefill.server.worker.pinned_tokens == 0


async def test_a_prefill_leg_whose_client_leaves_pins_nothing() -> None:
    async with pair() as p:
        request = asyncio.create_task(p.prefill.json(COMPLETIONS, max_tokens=1, kv_transfer_params=PREFILL_LEG))
        simulator = p.prefill.server.worker
        await until(lambda: simulator.running == 1)
        p.clock.move_to(1.0)
        request.cancel()
        await until(lambda: simulator.aborted == 1)
        assert (simulator.kv_tokens, simulator.finished) == (0, 0)


async def test_kv_pinned_for_an_answer_that_never_left_is_dropped() -> None:
    async with simulated() as worker:
        simulator = worker.server.worker
        request = asyncio.create_task(worker.json(COMPLETIONS, max_tokens=1, kv_transfer_params=PREFILL_LEG))
        await until(lambda: simulator.running == 1)
        [stream] = worker.server._pacer._streams.values()
        assert stream._reader is not None
        stream._reader.cancel()  # the client's leaving is noticed, and before the handler has run
        worker.clock.move_to(2.0)
        assert (stream.sequence.state, simulator.pinned_tokens) == (State.FINISHED, 112)
        await until(lambda: simulator.pinned_tokens == 0)
        assert simulator.lease_expired == 0
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await request


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"engine_id":"p:w"}'])
@pytest.mark.parametrize("verb", ["read", "renew", "done"])
async def test_a_bad_call_on_the_side_channel_finds_nothing(verb: str, body: bytes) -> None:
    async with simulated() as worker, worker.http.post(f"{worker.url}/nixl/{verb}", data=body) as response:
        assert response.status == 404


async def test_clients_that_leave_at_any_moment_leave_nothing_behind() -> None:
    chance = random.Random(7)
    async with pair(decode_kv=640) as p:
        clients = [asyncio.create_task(split(p)) for _ in range(150)]
        doomed = {client: chance.randrange(600) for client in chance.sample(clients, 110)}
        for turn in range(600):
            p.clock.move_to(p.clock.now_s + 0.5)
            for client, last_turn in doomed.items():
                if turn == last_turn:
                    client.cancel()
            await asyncio.sleep(0)
        while not all(client.done() for client in clients):
            p.clock.move_to(p.clock.now_s + 0.5)
            await asyncio.sleep(0.0)
        assert sum(not client.cancelled() for client in clients) >= 40
        p.clock.move_to(p.clock.now_s + 100.0)  # leases of legs whose client left between the two calls
        for worker in (p.prefill.server.worker, p.decode.server.worker):
            await until(lambda w=worker: w.kv_tokens == 0)  # type: ignore[misc]
            assert worker.aborted > 0
            assert worker.submitted == worker.finished + worker.aborted


async def split(p: Pair) -> None:
    answer = await p.prefill.json(COMPLETIONS, max_tokens=1, kv_transfer_params=PREFILL_LEG)
    async with p.decode.post(max_tokens=9, stream=True, kv_transfer_params=answer["kv_transfer_params"]) as response:
        assert data_of(await response.read())[-1] == "[DONE]"
