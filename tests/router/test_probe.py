from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from builders import fleet
from fake_worker import Call, FakeWorker, fake_workers
from gateways import of, until

from policies.least_load import LeastLoad
from router.dispatcher import Dispatcher
from router.engines.table import ENGINES
from router.errors import UpstreamTimeout
from router.probe import Probe, ProbeLimits
from router.scheduler import Scheduler
from router.upstream import Upstream

BUSY = "vllm:num_requests_running 3.0\nvllm:num_requests_waiting 2.0\nvllm:kv_cache_usage_perc 0.5\n"


@dataclass
class Watched:
    """A probe of one fake worker; `now` is the clock it goes by."""

    fake: FakeWorker
    now: float = 0.0
    upstream: Upstream = field(default_factory=Upstream)

    def __post_init__(self) -> None:
        self.worker = of(self.fake, "w")
        self.fleet = fleet(self.worker)
        dispatcher = Dispatcher(Scheduler(self.fleet, LeastLoad()), lambda: self.now)
        limits = ProbeLimits(interval_s=0.001, timeout_s=0.05, failures=2, silent_s=10.0)
        self.probe = Probe(self.worker, ENGINES["vllm"], self.upstream, dispatcher, limits, lambda: self.now)

    @property
    def routable(self) -> bool:
        return self.fleet.is_routable(self.worker)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with fake_workers(1) as [fake]:
        one = Watched(fake)
        yield one
        await one.upstream.close()


async def test_a_worker_that_refuses_connections_is_lost_at_once(watched: Watched) -> None:
    await watched.fake.die()
    await watched.probe.once()
    assert not watched.routable


async def test_a_worker_that_answers_again_is_found(watched: Watched) -> None:
    port = int(watched.fake.url.rsplit(":", 1)[1])
    await watched.fake.die()
    await watched.probe.once()
    await watched.fake.listen(port)
    await watched.probe.once()
    assert watched.routable


async def test_one_bad_answer_is_a_hiccup_and_two_in_a_row_are_not(watched: Watched) -> None:
    watched.fake.health = 503
    await watched.probe.once()
    assert watched.routable
    watched.fake.health = 200
    await watched.probe.once()
    watched.fake.health = 503
    await watched.probe.once()
    assert watched.routable
    await watched.probe.once()
    assert not watched.routable


async def test_a_worker_that_says_nothing_is_busy_first_and_lost_in_the_end(watched: Watched) -> None:
    watched.fake.health_gate.clear()
    await watched.probe.once()
    assert watched.routable
    watched.now = 10.5
    await watched.probe.once()
    assert not watched.routable


async def test_a_frozen_worker_loses_the_requests_it_never_answered(watched: Watched) -> None:
    async def freeze(call: Call) -> None:
        await call.gone()

    watched.fake.script = freeze
    watched.fake.health_gate.clear()
    limits = ProbeLimits(timeout_s=0.01, silent_s=0.05)
    clock = asyncio.get_running_loop().time
    dispatcher = Dispatcher(Scheduler(watched.fleet, LeastLoad()), clock)
    probe = Probe(watched.worker, ENGINES["vllm"], watched.upstream, dispatcher, limits, clock)
    request = asyncio.create_task(
        watched.upstream.request(watched.fake.url, "POST", "/x", {}, b"{}", head_timeout_s=None)
    )
    async with asyncio.timeout(5):
        while not request.done():
            await probe.once()
    assert isinstance(request.exception(), UpstreamTimeout)
    assert not watched.routable


async def test_the_load_a_worker_reports_reaches_the_fleet(watched: Watched) -> None:
    watched.fake.metrics = BUSY
    watched.now = 1.0
    await watched.probe.once()
    assert watched.fleet.load(watched.worker).requests > 0


async def test_metrics_that_never_come_do_not_make_a_worker_dead(watched: Watched) -> None:
    watched.fake.metrics_gate.clear()
    for _ in range(3):
        await watched.probe.once()
    assert watched.routable


@pytest.mark.parametrize("text", ["", "vllm:num_requests_running NaN\n", "vllm:num_requests_running -5\n", "\x00\xff"])
async def test_absurd_metrics_change_nothing(watched: Watched, text: str) -> None:
    watched.fake.metrics = text
    watched.now = 1.0
    await watched.probe.once()
    assert watched.routable
    assert watched.fleet.load(watched.worker).requests == 0


async def test_the_probe_goes_on_until_it_is_cancelled(watched: Watched) -> None:
    task = asyncio.create_task(watched.probe.run())
    await until(lambda: watched.fake.health_checks >= 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
