"""`tokenyard devices measure` against a simulated worker in this process; what it fits is tested without a clock."""

import asyncio
import json
import math

import pytest

from devices.simulated.pacer import WallClock
from devices.simulated.worker_server import WorkerIdentity, WorkerServer
from devices.worker import Limits
from loadgen.cli import main
from loadgen.finding import Finding
from loadgen.loadtest import Target
from loadgen.result import Result
from loadgen.sweep import Plan, cell, swept
from router.ledger import Outcome


class Quick:
    """Steps of a millisecond and a bit."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 1e-3 + 1e-5 * decodes + 1e-6 * sum(new for new, _ in chunks)


def server() -> WorkerServer:
    identity = WorkerIdentity(
        name="w", pool="p", model="m", engine="vllm", lease_s=30.0, links={}, kv_bytes_per_token=1000.0
    )
    return WorkerServer(identity, Quick(), Limits(100_000, 64, False, 4096, 8000), WallClock())


async def test_every_cell_is_measured_in_order_with_the_prompts_as_the_endpoint_counts_them() -> None:
    plan = Plan([200, 50], [1, 3], 4)
    async with server() as worker:
        cells = [c async for c in swept(Target(worker.url, "m", simulated=True, chat=False), plan)]
        assert worker.worker.submitted == plan.requests + 1  # one to warm up
    assert [(c.prompt_tokens, c.concurrency, c.output_tokens) for c in cells] == [
        (50, 1, 4),
        (50, 3, 4),
        (200, 1, 4),
        (200, 3, 4),
    ]
    assert plan.cells == len(cells)
    assert all(c.ttft_s > 0 and c.step_s > 0 for c in cells)


async def test_a_batch_that_does_not_complete_ends_the_sweep() -> None:
    async with server() as worker:
        with pytest.raises(Finding, match="9000 prompt tokens, 1 at once: a request did not complete"):
            async for _ in swept(Target(worker.url, "m", simulated=True), Plan([9000, 9001], [1, 2], 4)):
                pass


def test_a_cell_is_the_first_tokens_of_the_fastest_and_the_steps_of_the_last() -> None:
    early = Result(0.0, Outcome.COMPLETED, ttft_s=0.1, e2e_s=0.9, prompt_tokens=10, output_tokens=5)
    late = Result(0.0, Outcome.COMPLETED, ttft_s=0.4, e2e_s=0.8, prompt_tokens=12, output_tokens=5)
    found = cell([early, late], 5)
    assert (found.prompt_tokens, found.concurrency, found.ttft_s) == (11, 2, 0.1)
    assert found.step_s == pytest.approx(0.1)


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(("devices", "measure", *arguments))
    return ended.value.code


async def test_the_command_sweeps_and_tells_what_it_fitted(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--prompts", "50,200", "--concurrency", "1,3", "--output", "4", "--simulated")
    async with server() as worker:
        assert await asyncio.to_thread(run, worker.url, *asked, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert len(found["cells"]) == 4
        assert found["fit"]["fixed_s"] >= 0
        assert await asyncio.to_thread(run, worker.url, *asked, "--model", "m") == 0
    assert "first token, fixed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--prompts", "128"), "need two different values each"),
        (("--concurrency", "1,1"), "need two different values each"),
        (("--prompts", "1,x"), "--prompts '1,x': expected whole numbers"),
        (("--concurrency", "0,1"), "every number must be at least 1"),
        (("--concurrency", "1,1000"), "at most 2000"),
    ],
)
def test_sweeps_that_tell_nothing_or_too_much_are_misuse(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert run("http://127.0.0.1:9", *arguments) == 2
    assert complaint in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("http://127.0.0.1:9") == 1
    assert "cannot be reached" in capsys.readouterr().err
