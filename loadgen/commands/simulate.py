"""`tokenyard simulate`: a fleet file and a trace in virtual time."""

from __future__ import annotations

from typing import Annotated

import typer

from loadgen.commands import options

EXAMPLES = """Examples:

tokenyard simulate --config deploy/examples/hetero.yaml --trace trace.csv.gz --policy cost-slo,least-load

tokenyard simulate -c fleet.yaml --rate 20 --arrivals gamma:2.5 --duration 300 --classes chat:0.7,batch:0.3 --seed 3

tokenyard simulate -c fleet.yaml --workload agentic --rate 2 --duration 600 --tenants acme:0.7,other:0.3
"""


def simulate(
    config: options.ConfigFile,
    trace: options.TraceFile = None,
    named: options.Named = None,
    policy: Annotated[
        str | None, typer.Option("--policy", help="One or several, with commas. Default: the fleet file's.")
    ] = None,
    rate: options.Rate = None,
    arrivals: options.Arrivals = None,
    input_tokens: options.Input = None,
    output_tokens: options.Output = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    rate_scale: options.RateScale = 1.0,
    classes: options.Classes = None,
    tenants: options.Tenants = None,
    model: options.Model = None,
    seed: options.Seed = 1,
    overhead: Annotated[
        float,
        typer.Option("--overhead", min=0, max=60, help="Seconds each call to a worker adds live; a split makes 3."),
    ] = 0.0,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Leave CPU time out: the report is then the same bytes every time.")
    ] = False,
    json_file: options.JsonFile = None,
) -> None:
    """The gateway's own scheduler in virtual time, several policies side by side."""
    from loadgen.commands import say
    from loadgen.finding import Finding
    from loadgen.fleet_file import laid_out
    from loadgen.report import report
    from loadgen.runs import simulated
    from loadgen.show import shown
    from loadgen.traffic import Traffic
    from router.config import load

    fleet = load(config)
    workload = options.workload(
        trace, rate, arrivals, input_tokens, output_tokens, start, duration, rate_scale, seed, named
    )
    traffic = Traffic.of(fleet, model, classes, seed, tenants)
    workers = laid_out(config, fleet)
    runs = []
    for name in (policy or fleet.policy.name).split(","):
        say.progress(f"simulating {name} ...")
        run = simulated(fleet, workers, name.strip(), workload, traffic, overhead_s=overhead, timing=not no_timing)
        if not run.results:
            raise Finding("nothing to simulate: no request comes between --start and the end of --duration")
        runs.append(report(run))
    whole = {"command": "simulate", "config": str(config), "trace": trace and str(trace), "seed": seed, "runs": runs}
    if named is not None:
        whole["workload"] = named
    if json_file is not None:
        say.save_json(json_file, whole)
    if str(json_file) != "-":
        shown(runs)
