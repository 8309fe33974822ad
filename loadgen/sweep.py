"""Sweeps a live endpoint: for each prompt length, batches of requests sent together, one batch after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from devices.calibration.sweep import Cell
from loadgen.finding import Finding
from loadgen.loadtest import LoadTest, Target
from loadgen.result import Result
from loadgen.trace import Row
from loadgen.traffic import Traffic

MOST_REQUESTS = 2000
"""A sweep is a measurement, not a load test; more than this is refused."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked: every prompt length at every concurrency, the whole of it `repeats` times."""

    prompt_tokens: Sequence[int]
    concurrency: Sequence[int]
    output_tokens: int
    repeats: int = 1

    @property
    def cells(self) -> int:
        return len(self.prompt_tokens) * len(self.concurrency) * self.repeats

    @property
    def requests(self) -> int:
        """All of them together."""
        return len(self.prompt_tokens) * sum(self.concurrency) * self.repeats


async def swept(target: Target, plan: Plan) -> AsyncIterator[Cell]:
    """One cell after the other, shortest prompts first; raises `Finding` for one that does not complete.

    A first short request warms the endpoint up and is not counted. Prompts differ in their first bytes, so no prefix
    cache helps.
    """
    await _cell(replace(target, seed=-1), min(plan.prompt_tokens), 1, 2)
    number = 0
    for _ in range(plan.repeats):
        for prompt_tokens in sorted(plan.prompt_tokens):
            for concurrency in sorted(plan.concurrency):
                seeded = replace(target, seed=target.seed + number)
                yield cell(await _cell(seeded, prompt_tokens, concurrency, plan.output_tokens), plan.output_tokens)
                number += 1


async def _cell(target: Target, prompt_tokens: int, concurrency: int, output_tokens: int) -> list[Result]:
    test = LoadTest(target, Traffic(target.model))
    await test.run([Row(index, 0.0, prompt_tokens, output_tokens) for index in range(concurrency)])
    for result in test.results:
        if not result.completed or result.tpot_s is None or result.ttft_s is None:
            said = result.message or f"{result.output_tokens} tokens came, at least two are needed"
            raise Finding(f"{prompt_tokens} prompt tokens, {concurrency} at once: a request did not complete: {said}")
    return test.results


def cell(results: Sequence[Result], output_tokens: int) -> Cell:
    """What one batch tells; the prompt is as long as the endpoint counted it."""
    last = max(results, key=lambda result: result.ttft_s or 0.0)
    assert last.tpot_s is not None  # `_cell` saw to it
    return Cell(
        prompt_tokens=round(sum(result.prompt_tokens for result in results) / len(results)),
        concurrency=len(results),
        output_tokens=output_tokens,
        ttft_s=min(result.ttft_s or 0.0 for result in results),
        step_s=last.tpot_s,
    )
