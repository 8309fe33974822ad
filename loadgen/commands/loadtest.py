"""`tokenyard loadtest`: open-loop load against any OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devices.worker import Worker
    from loadgen.loadtest import LoadTest, Target
    from loadgen.report import Run
    from loadgen.trace import Row
    from loadgen.traffic import Traffic
    from policies.api import Slo

EXAMPLES = """Examples:

tokenyard loadtest http://127.0.0.1:8080 --trace trace.csv.gz --duration 60 --simulated

tokenyard loadtest http://10.0.0.1:8000 --rate 5 --arrivals gamma:2 --duration 120 --ttft-s 1 --tpot-s 0.05

tokenyard loadtest http://10.0.0.1:8000 --workload chat --rate 5 --duration 120
"""


def loadtest(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The endpoint's root; a trailing /v1 is accepted.")],
    trace: options.TraceFile = None,
    named: options.Named = None,
    rate: options.Rate = None,
    arrivals: options.Arrivals = None,
    input_tokens: options.Input = None,
    output_tokens: options.Output = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    rate_scale: options.RateScale = 1.0,
    classes: options.Classes = None,
    model: options.Model = None,
    seed: options.Seed = 1,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The gateway's fleet file: promises, pools and prices.")
    ] = None,
    ttft_s: Annotated[float | None, typer.Option("--ttft-s", min=0, help="Promise of the default class.")] = None,
    tpot_s: Annotated[float | None, typer.Option("--tpot-s", min=0, help="Promise of the default class.")] = None,
    completions: Annotated[bool, typer.Option("--completions", help="Use /v1/completions instead of chat.")] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Workers are simulated: tell them the true length, not the policy.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.001, help="Seconds a whole answer may take.")] = 600.0,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="Sent with every request, as 'name: value'.")
    ] = None,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Leave CPU time out of the report.")] = False,
    json_file: options.JsonFile = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write the report as one self-contained page to this file.")
    ] = None,
) -> None:
    """Requests leave on schedule however slow the answers are; times are a client's."""
    from dataclasses import replace

    import uvloop

    from loadgen.commands import say
    from loadgen.live import check_completed, remarks
    from loadgen.loadtest import Target
    from loadgen.report import report
    from loadgen.show import shown
    from policies.api import Slo

    workload = options.workload(
        trace, rate, arrivals, input_tokens, output_tokens, start, duration, rate_scale, seed, named
    )
    traffic, policy, workers = _asked(url, config, model, classes, seed, Slo(ttft_s, tpot_s))
    target = Target(url, traffic.model, not completions, simulated, timeout, seed, options.headers(header or []))
    offered_s = None if workload.rate_per_s is None else duration
    test, found = uvloop.run(_run(target, traffic, workload.rows(), policy, workers, offered_s))
    made = report(replace(found, cpu_s=None) if no_timing else found)
    whole = {"command": "loadtest", "url": url, "trace": trace and str(trace), "seed": seed, "runs": [made]}
    if named is not None:
        whole["workload"] = named
    if json_file is not None:
        say.save_json(json_file, whole)
    if html_file is not None:
        from loadgen.page import page
        from loadgen.page_figures import figures
        from loadgen.page_runs import PageRun, PageRuns

        fleet = config.stem if config else "an endpoint"
        tested = PageRun(fleet, "live", policy, seed, made, figures(found))
        say.save_text(html_file, page(PageRuns([tested], [(fleet, policy)], ["live"]), say.command(context)))
    if str(json_file) != "-":
        shown([made])
    for remark in remarks(test):
        say.complain(remark)
    check_completed(found.results)


def _asked(
    url: str, config: Path | None, model: str | None, classes: str | None, seed: int, own: Slo
) -> tuple[Traffic, str, tuple[Worker, ...]]:
    """What to ask for, the policy that answers, and its fleet where a fleet file tells."""
    from dataclasses import replace

    from loadgen.traffic import Traffic
    from loadgen.workload import mix
    from policies.api import Slo
    from router.openai import DEFAULT_CLASS, TrafficClass

    policy: str = url
    workers: tuple[Worker, ...] = ()
    if config is not None:
        from loadgen.fleet_file import laid_out
        from router.config import load

        fleet = load(config)
        traffic = Traffic.of(fleet, model, classes, seed)
        policy, workers = fleet.policy.name, laid_out(config, fleet).workers
    else:
        traffic = Traffic(model or "", {}, mix(classes, seed) if classes else None)
    if own != Slo():
        named = TrafficClass(DEFAULT_CLASS.name, own)
        traffic = replace(traffic, classes={**traffic.classes, named.name: named})
    return traffic, policy, workers


async def _run(
    target: Target,
    traffic: Traffic,
    rows: Iterable[Row],
    policy: str,
    workers: tuple[Worker, ...],
    offered_s: float | None,
) -> tuple[LoadTest, Run]:
    """Look at the endpoint, then send. Raises `Finding` when it cannot be reached or names no model."""
    from dataclasses import replace

    from loadgen.finding import Finding
    from loadgen.live import models, tested
    from loadgen.loadtest import LoadTest

    offered = await models(target.url, target.headers)
    name = traffic.model or (offered[0] if offered else "")
    if not name:
        raise Finding(f"{target.url}: lists no models at /v1/models; name one with --model")
    test = LoadTest(replace(target, model=name), traffic)
    return test, await tested(test, rows, policy, workers, offered_s)
