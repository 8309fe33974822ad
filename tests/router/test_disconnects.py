"""A thousand requests, most of whose clients leave at some random moment: afterwards nothing may be left anywhere."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from builders import BOTH, DECODE, PREFILL, SteadyPredictor, pool
from gateways import Served, at_rest, serving, until

from devices.simulated.server import WorkerIdentity, WorkerServer
from devices.worker import Limits, Link, Phase, Worker
from policies.api import FleetView, Placement, Request, draw
from router.ledger import Entry, Outcome

REQUESTS = 1000
AT_ONCE = 24
SPEED = 5.0
"""Model seconds per second: a prefill of 0.1 s takes 20 ms, a token 2 ms."""
LEASE_S = 30.0
"""Model seconds. It ends what nobody can prevent: a prefill that finishes in the moment its client is gone."""
LIMITS = Limits(40_000, 6, True, 2048, 8192)
SITES = {"p0": PREFILL, "p1": PREFILL, "d0": DECODE, "d1": DECODE, "w0": BOTH}


class AnyPair:
    """Any pair that is free, one worker alone as likely as all splits: the point is to be everywhere, not fast."""

    def place(self, request: Request, fleet: FleetView, now: float) -> Placement | None:
        pairs = [
            (prefill, decode) for decode in fleet.decoders(request) for prefill in fleet.prefillers(request, decode)
        ]
        if not pairs:
            return None
        alone = [(prefill, decode) for prefill, decode in pairs if prefill is decode]
        pairs = alone if alone and draw(0, request, 1, 2) else pairs
        prefill, decode = pairs[draw(0, request, 0, len(pairs))]
        return Placement(prefill, decode, fleet.quote(request, prefill, decode, now))


def server(name: str, phases: frozenset[Phase]) -> WorkerServer:
    links = {sender: Link(1e9, latency_s=0.02) for sender in SITES}
    identity = WorkerIdentity(
        name=name,
        pool=name,
        model="m",
        phases=phases,
        links=links,
        kv_bytes_per_token=1000.0,
        speed=SPEED,
        lease_s=LEASE_S,
    )
    return WorkerServer(identity, SteadyPredictor(prefill_s_per_token=1e-4, step_seconds=0.01), LIMITS)


async def client(served: Served, number: int, chance: random.Random) -> None:
    """One request, and a client that stays, leaves at a random moment, or leaves after some of the answer."""
    stream = chance.random() < 0.7
    leaves_after_s = chance.choice(
        [None, chance.uniform(0.0, 0.03), chance.uniform(0.0, 0.15), chance.uniform(0.0, 0.4)]
    )
    leaves_after_events = chance.choice([None, None, chance.randrange(1, 20)])
    content = f"{number} " * chance.randrange(10, 800)
    fields = {"messages": [{"role": "user", "content": content}], "max_tokens": chance.randrange(1, 60)}
    try:
        async with asyncio.timeout(leaves_after_s), served.post(stream=stream, **fields) as answer:
            events = 0
            async for line in answer.content:
                events += line.startswith(b"data:")
                if leaves_after_events is not None and events >= leaves_after_events:
                    answer.close()
                    return
    except TimeoutError:
        return


def phase_of(entry: Entry) -> str:
    """Where a request was when its client left."""
    if entry.placement is None:
        return "queue"
    if entry.ttft_s is not None:
        return "decode"
    return "split before the first token" if entry.placement.split else "whole before the first token"


@pytest.mark.slow
async def test_a_thousand_requests_with_clients_that_leave_in_every_phase_leave_nothing_behind() -> None:
    chance = random.Random(2)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server(name, phases)) for name, phases in SITES.items()]
        workers = [
            Worker(
                of.identity.name, pool(of.identity.name, phases=of.identity.phases, hard_slots=True, max_seqs=6), of.url
            )
            for of in servers
        ]
        served = await stack.enter_async_context(serving(workers, AnyPair(), limits={"kv_lease_s": LEASE_S / SPEED}))
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, seed: int) -> None:
            async with gate:
                await client(served, number, random.Random(seed))

        async with asyncio.TaskGroup() as group:
            for number in range(REQUESTS):
                group.create_task(one(number, chance.randrange(2**32)))
        app = served.app
        await until(lambda: at_rest(app), within_s=20)
        await until(
            lambda: not any(of.worker.running or of.worker.waiting or of.worker.kv_tokens for of in servers), 20
        )
        ledger = app.ledger
        outcomes = Counter(outcome for outcome, _ in ledger.ended.elements())
        assert ledger.received == outcomes.total() > REQUESTS / 2  # some leave before they are heard
        assert set(outcomes) == {Outcome.COMPLETED, Outcome.CLIENT_CANCELLED}
        left = Counter(phase_of(entry) for entry in ledger.recent.values() if entry.outcome is Outcome.CLIENT_CANCELLED)
        assert min(left.values()) >= 5
        assert len(left) == 4
        await until(lambda: not app.upstream.connections_in_use)  # a probe may be under way
