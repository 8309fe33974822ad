"""`tokenyard devices measure`: sweeps a live endpoint and fits an iteration model to what it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devices.calibration.sweep import Cell, SweepFit
    from loadgen.loadtest import Target
    from loadgen.sweep import Plan

EXAMPLES = """Examples:

tokenyard devices measure http://127.0.0.1:8000

tokenyard devices measure http://10.0.0.1:8000 --prompts 256,1024,4096,16384 --concurrency 1,8,64 --output 128 --json
"""
BATCHES = "1,4,16,64"
LENGTHS = "128,512,2048,8192"


def measure(
    url: Annotated[str, typer.Argument(metavar="URL", help="The endpoint's root; a trailing /v1 is accepted.")],
    prompts: Annotated[str, typer.Option("--prompts", help="Prompt lengths in tokens.")] = LENGTHS,
    concurrency: Annotated[str, typer.Option("--concurrency", help="Requests sent together.")] = BATCHES,
    output: Annotated[int, typer.Option("--output", min=2, max=4096, help="Tokens of each answer.")] = 64,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=20, help="Times the sweep is made.")] = 1,
    model: Annotated[str | None, typer.Option("--model", help="The model to ask for; the first one listed.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds a whole answer may take.")] = 600.0,
    simulated: Annotated[bool, typer.Option("--simulated", help="The worker is simulated.")] = False,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="Sent with every request, as 'name: value'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prompt lengths x concurrency, one batch at a time, on an endpoint that serves nobody else meanwhile."""
    import asyncio

    import uvloop

    from devices.calibration.sweep import sweep_fit
    from loadgen.commands import options
    from loadgen.finding import Misuse
    from loadgen.loadtest import Target
    from loadgen.sweep import MOST_REQUESTS, Plan

    plan = Plan(_counts("--prompts", prompts), _counts("--concurrency", concurrency), output, repeats)
    if len(set(plan.prompt_tokens)) < 2 or len(set(plan.concurrency)) < 2:
        raise Misuse("--prompts and --concurrency need two different values each, or nothing can be told apart")
    if plan.requests > MOST_REQUESTS:
        raise Misuse(f"{plan.requests} requests; a sweep sends at most {MOST_REQUESTS}: ask for smaller batches")
    sent = options.headers(header or [])
    target = Target(url, asyncio.run(_model(url, model, sent)), simulated=simulated, timeout_s=timeout, headers=sent)
    cells = uvloop.run(_swept(target, plan))
    fit = sweep_fit(cells)
    _show(cells, fit, as_json)


async def _swept(target: Target, plan: Plan) -> list[Cell]:
    from loadgen.commands import say
    from loadgen.sweep import swept

    cells: list[Cell] = []
    async for cell in swept(target, plan):
        cells.append(cell)
        done = f"{len(cells)} of {plan.cells}"
        say.progress(f"{done}: {cell.concurrency} x {cell.prompt_tokens} tokens, {cell.step_s * 1e3:.2f} ms a step")
    return cells


async def _model(url: str, asked: str | None, headers: dict[str, str]) -> str:
    from loadgen.finding import Misuse
    from loadgen.live import models

    if asked:
        return asked
    listed = await models(url, headers)
    if not listed:
        raise Misuse(f"{url} lists no models; name one with --model")
    return listed[0]


def _counts(option: str, text: str) -> list[int]:
    from loadgen.finding import Misuse

    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        raise Misuse(f"{option} {text!r}: expected whole numbers such as 1,8,64") from None
    if min(values) < 1:
        raise Misuse(f"{option} {text!r}: every number must be at least 1")
    return values


def _show(cells: Sequence[Cell], fit: SweepFit, as_json: bool) -> None:
    from dataclasses import asdict

    from loadgen.commands import say

    if as_json:
        say.answer_json({"cells": [asdict(cell) for cell in cells], "fit": asdict(fit)})
        return
    say.table(
        ("prompt tokens", "at once", "step ms", "fit ms", "first token ms"),
        [
            (
                cell.prompt_tokens,
                cell.concurrency,
                cell.step_s * 1e3,
                fit.decode_step_s(cell.concurrency, cell.kv_tokens) * 1e3,
                cell.ttft_s * 1e3,
            )
            for cell in cells
        ],
    )
    say.pairs(
        {
            "step, fixed": f"{fit.fixed_s * 1e3:.3f} ms",
            "step, each sequence": f"{fit.sequence_s * 1e6:.2f} us",
            "step, each 1,000 tokens held": f"{fit.kv_s * 1e9:.2f} us",
            "first token, fixed": f"{fit.first_s * 1e3:.3f} ms",
            "first token, each 1,000 tokens": f"{fit.token_s * 1e6:.3f} ms",
            f"the same beyond {fit.knee_tokens:,} tokens": f"{fit.beyond_s * 1e6:.3f} ms",
            "median error": f"step {fit.step_error:.1%}, first token {fit.first_error:.1%}",
        }
    )
