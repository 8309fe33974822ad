"""The gateway over simulated workers that really hand KV over: the shortest run of the whole house."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import orjson
import pytest
from builders import BOTH, DECODE, PREFILL, SteadyPredictor, fleet, pool
from gateways import COMPLETIONS, HELLO, Pairs, at_rest, content_of, data_of, serving, until

from devices.simulated.server import WorkerIdentity, WorkerServer
from devices.worker import Limits, Link, Phase, Worker
from policies.least_load import LeastLoad
from router.journal import replay
from router.ledger import Outcome
from router.scheduler import Scheduler

LIMITS = Limits(40_000, 8, False, 2048, 8192)
SLOW_PREFILL = SteadyPredictor(prefill_s_per_token=2e-3)
"""6,000 tokens take 12 model seconds, so that a client can surely leave before they are over."""
SPLIT = Pairs((("p", "d"),))


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, WorkerServer]]:
    """A prefill worker "p", a decode worker "d", and "w", which does both; fifty times faster than life.

    A hand-over takes 5 model seconds, 0.1 of ours, and no lease ends while a test runs.
    """
    async with AsyncExitStack() as stack:
        made: dict[str, WorkerServer] = {}
        for name, phases in {"p": PREFILL, "d": DECODE, "w": BOTH}.items():
            identity = WorkerIdentity(
                name=name,
                pool=name,
                model="m",
                phases=phases,
                links={sender: Link(1e9, latency_s=5.0) for sender in "pdw"},
                kv_bytes_per_token=1000.0,
                speed=50.0,
                lease_s=1e6,
            )
            made[name] = await stack.enter_async_context(WorkerServer(identity, SLOW_PREFILL, LIMITS))
        yield made


def workers(servers: dict[str, WorkerServer], names: str = "pdw") -> list[Worker]:
    def phases(name: str) -> frozenset[Phase]:
        return servers[name].identity.phases

    return [Worker(name, pool(name, phases=phases(name)), servers[name].url) for name in names]


def free(servers: dict[str, WorkerServer]) -> bool:
    return not any(one.worker.running or one.worker.waiting or one.worker.kv_tokens for one in servers.values())


async def test_prefill_on_one_worker_and_decode_on_another_gives_the_whole_answer(
    servers: dict[str, WorkerServer],
) -> None:
    async with serving(workers(servers), SPLIT) as served:
        events = await served.events(max_tokens=20)
        assert (events[-1], served.last.output_tokens) == ("[DONE]", 20)
        assert len(content_of(events).encode()) == 4 * 20
        async with served.post(max_tokens=5) as answer:
            assert (await answer.json())["usage"]["completion_tokens"] == 5
        async with served.post(COMPLETIONS, max_tokens=5, stream=True) as answer:
            assert data_of(await answer.text())[-1] == "[DONE]"
        assert {entry.outcome for entry in served.app.ledger.recent.values()} == {Outcome.COMPLETED}
        await until(lambda: free(servers))
        assert servers["p"].worker.pinned_tokens == 0


@pytest.mark.parametrize(
    "phase",
    [
        lambda servers: servers["p"].worker.running > 0,
        lambda servers: servers["p"].worker.pinned_tokens > 0,
        lambda servers: servers["d"].worker.kv_tokens > 0,
        lambda servers: servers["p"].worker.kv_tokens == 0 < servers["d"].worker.running,
    ],
    ids=["prefill", "prefilled", "transfer", "decode"],
)
async def test_a_client_that_leaves_frees_both_workers_without_waiting_for_the_lease(
    servers: dict[str, WorkerServer], phase: Callable[[dict[str, WorkerServer]], bool]
) -> None:
    long = [{"role": "user", "content": "x" * 24_000}]
    async with serving(workers(servers), SPLIT) as served:
        answer = asyncio.create_task(served.events(max_tokens=2000, messages=long))
        await until(lambda: not free(servers) and phase(servers))
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await until(lambda: at_rest(served.app) and free(servers))
        assert served.last.outcome is Outcome.CLIENT_CANCELLED


async def test_the_journal_of_a_live_run_replays_to_the_same_decisions(servers: dict[str, WorkerServer]) -> None:
    lines: list[bytes] = []
    fleet_workers = workers(servers)
    async with serving(fleet_workers, LeastLoad(seed=3), journal=lines.append) as served:
        await asyncio.gather(*(served.events(max_tokens=10 + number) for number in range(20)))
    links = {(a, b): Link(50e9) for a in "pdw" for b in "pdw" if a != b}
    decisions, differences = replay(Scheduler(fleet(*fleet_workers, links=links), LeastLoad(seed=3)), lines)
    assert decisions == 20
    assert differences == []
    assert {orjson.loads(line)["event"] for line in lines} >= {"submit", "first_token", "attempt_ended", "report"}


async def test_a_prompt_too_long_for_the_worker_is_refused_in_its_words(servers: dict[str, WorkerServer]) -> None:
    async with serving(workers(servers, "w")) as served:
        async with served.post(messages=[{**HELLO[0], "content": "x" * 50_000}]) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["message"]
        assert (served.last.outcome, served.last.reason) == (Outcome.REJECTED, "invalid")
