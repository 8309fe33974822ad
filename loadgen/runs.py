"""A configured fleet, simulated under one policy after another."""

from __future__ import annotations

import time
from collections.abc import Mapping

from loadgen.fault_events import PriceChanged
from loadgen.faults import NO_FAULTS, Timeline
from loadgen.ordeal import Ordeal
from loadgen.report import Run
from loadgen.results import Results
from loadgen.simulate import Simulation
from loadgen.tariffs import Tariffs
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from policies.api import Policy
from policies.table import POLICIES, load
from router.config import Config
from router.fleet import Fleet
from router.layout import Layout
from router.scheduler import Scheduler


def policy(config: Config, name: str, seed: int) -> Policy:
    """The policy of that name; options of the fleet file apply to the one it names, the seed to those that draw."""
    options: Mapping[str, object] = config.policy.options if name == config.policy.name else {}
    draws = "seed" in getattr(POLICIES.get(name), "__dataclass_fields__", ())
    return load(name, {"seed": seed, **options} if draws else options)


def simulated(
    config: Config,
    layout: Layout,
    name: str,
    workload: Workload,
    traffic: Traffic,
    *,
    overhead_s: float = 0.0,
    timing: bool = True,
    timeline: Timeline = NO_FAULTS,
) -> Run:
    """One policy over a fresh fleet, with what goes wrong in it.

    `timing` measures CPU seconds, the only thing here that two runs may differ in.
    """
    limits = config.limits
    scheduler = Scheduler(
        Fleet(layout.workers, layout.links),
        policy(config, name, workload.seed),
        queue_limit=limits.queue,
        queue_timeout_s=limits.queue_timeout_s,
    )
    simulation = _simulation(config, scheduler, workload, traffic, overhead_s, timeline)
    began_s = time.process_time()
    simulation.run()
    cpu_s = time.process_time() - began_s
    results = Results.of(simulation.results)
    last_s = float(results.column("arrival_s").max(initial=0.0))
    # A trace may end before the duration asked for, and nobody rents a fleet to wait for rows that do not come.
    offered_s = last_s if workload.rate_per_s is None else workload.duration_s
    return Run(
        policy=name,
        results=results,
        gaps=simulation.gaps,
        offered_s=offered_s,
        duration_s=max(simulation.end_s, offered_s),
        workers=layout.workers,
        cpu_s=cpu_s if timing else None,
        tariffs=Tariffs([event for event in timeline.events if isinstance(event, PriceChanged)]),
    )


def _simulation(
    config: Config,
    scheduler: Scheduler,
    workload: Workload,
    traffic: Traffic,
    overhead_s: float,
    timeline: Timeline,
) -> Simulation:
    limits, rows, request = config.limits, workload.rows(), traffic.request
    if timeline == NO_FAULTS:
        return Simulation(scheduler, rows, request, probe_interval_s=limits.probe_interval_s, overhead_s=overhead_s)
    return Ordeal(
        scheduler,
        rows,
        request,
        timeline,
        attempts=limits.attempts,
        kv_lease_s=limits.kv_lease_s,
        probe_interval_s=limits.probe_interval_s,
        overhead_s=overhead_s,
    )
