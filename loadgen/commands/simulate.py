"""`tokenyard simulate`: fleet files and a trace in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadgen.report import Json
    from loadgen.sweeps import Point, Ran, Sweep

EXAMPLES = """Examples:

tokenyard simulate --config deploy/examples/hetero.yaml --trace trace.csv.gz --policy cost-slo,least-load

tokenyard simulate -c fleet.yaml --rate 20 --arrivals gamma:2.5 --duration 300 --classes chat:0.7,batch:0.3 --seed 3

tokenyard simulate -c fleet.yaml --workload agentic --rate 2 --duration 600 --tenants acme:0.7,other:0.3

tokenyard simulate -c small.yaml -c large.yaml --rate 5,10,20 --duration 300 --policy cost-slo,random --seed 1..5
--html sweep.html

tokenyard simulate -c deploy/examples/hetero.yaml --rate 10 --duration 600 --faults deploy/examples/faults.yaml
"""


def simulate(
    context: typer.Context,
    config: Annotated[
        list[Path],
        typer.Option("--config", "-c", help="The fleet file (YAML); several to compare.", show_default=False),
    ],
    trace: options.TraceFile = None,
    named: options.Named = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="One or several, with commas. Default: the fleet file's.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Made arrivals: requests per second; several: 5,10,20.")
    ] = None,
    arrivals: options.Arrivals = None,
    input_tokens: options.Input = None,
    output_tokens: options.Output = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    rate_scale: Annotated[
        str, typer.Option("--rate-scale", help="Replay this many times as fast; several: 1,2,4.")
    ] = "1",
    classes: options.Classes = None,
    tenants: options.Tenants = None,
    model: options.Model = None,
    seed: Annotated[
        str,
        typer.Option(
            "--seed", "--seeds", help="Of every draw: arrivals, lengths, classes, policies; several: 1,2,3 or 1..5."
        ),
    ] = "1",
    faults: Annotated[
        Path | None, typer.Option("--faults", help="What goes wrong and when (YAML); docs/faults.md explains.")
    ] = None,
    overhead: Annotated[
        float,
        typer.Option("--overhead", min=0, max=60, help="Seconds each call to a worker adds live; a split makes 3."),
    ] = 0.0,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Runs at a time, each in its own process. Default: all cores for a sweep, else 1.",
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Spread runs over the Ray cluster at this address; local starts one.")
    ] = None,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Leave CPU time out: the report is then the same bytes every time.")
    ] = False,
    json_file: options.JsonFile = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write the report as one self-contained page to this file.")
    ] = None,
) -> None:
    """The gateway's own scheduler in virtual time: policies, rates, fleets and seeds side by side."""
    from loadgen.commands import say
    from loadgen.show import shown, shown_summary
    from loadgen.sweeps import Sweep, figures_of, grid, seeds_of
    from loadgen.sweeps_summary import summary

    options.one_thread()
    rates = [None] if rate is None else figures_of("--rate", rate)
    scales, seeds = figures_of("--rate-scale", rate_scale), seeds_of(seed)
    workload = options.workload(
        trace, rates[0], arrivals, input_tokens, output_tokens, start, duration, scales[0], seeds[0], named
    )
    if rate is None and workload.rate_per_s is not None:
        rates = [workload.rate_per_s]  # that of the named workload
    sweep = Sweep(workload, model, classes, tenants, overhead, not no_timing, html_file is not None, faults)
    policies = [name.strip() for name in policy.split(",")] if policy else []
    _each_once("--config", config, "fleet")
    _each_once("--policy", policies, "policy")
    points = grid(config, rates, scales, policies, seeds)
    swept = max(map(len, (config, rates, scales, seeds))) > 1
    ran = _ran(sweep, points, jobs or (0 if swept else 1), ray)
    runs = [one.report for one in ran]
    whole: Json = {"command": "simulate"}
    if swept:
        runs = [{"point": point.json(), **made} for point, made in zip(points, runs, strict=True)]
        whole |= {"trace": trace and str(trace), "runs": runs, "summary": summary(points, runs)}
    else:
        whole |= {"config": str(config[0]), "trace": trace and str(trace), "seed": seeds[0], "runs": runs}
    if faults is not None:
        whole["faults"] = str(faults)
    if named is not None:
        whole["workload"] = named
    if json_file is not None:
        say.save_json(json_file, whole)
    if html_file is not None:
        from loadgen.page import page
        from loadgen.page_runs import PageRuns

        say.save_text(html_file, page(PageRuns.of(points, ran), say.command(context)))
    if str(json_file) != "-":
        shown_summary(summary(points, runs)) if swept else shown(runs)


def _each_once(option: str, given: Sequence[object], what: str) -> None:
    """A summary could not tell two of the same apart."""
    from loadgen.finding import Misuse

    if len(set(given)) < len(given):
        twice = max(given, key=given.count) if what == "fleet" else ",".join(map(str, given))
        raise Misuse(f"{option} {twice}: each {what} once")


def _ran(sweep: Sweep, points: Sequence[Point], jobs: int, ray: str | None) -> list[Ran]:
    """What every point gave, in the order of the grid. 0 jobs: as many as there are cores."""
    from loadgen.commands import say
    from loadgen.sweeps_runner import cores, in_turn, on_cores, on_ray

    if len(points) == 1 and ray is None:
        say.progress(f"simulating {points[0].policy} ...")
        return [sweep.run(points[0])]
    at_a_time = jobs or cores()
    runner = on_ray(ray) if ray is not None else on_cores(at_a_time) if at_a_time > 1 else in_turn
    sweep.check(points)
    found = dict(say.progress_bar(runner(sweep, points), len(points), "simulating"))
    return [found[number] for number in range(len(points))]
