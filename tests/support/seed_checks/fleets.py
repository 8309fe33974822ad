"""Small fleets for claims about where requests go and how large a fleet may be."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loadgen.lengths import Lognormal
from loadgen.report import report
from loadgen.runs import simulated
from loadgen.traffic import Traffic
from loadgen.workload import Workload
from policies.api import Placement, Request, Slo
from policies.table import load as load_policy
from router.config import Config, ConfigError, load
from router.fleet import Fleet
from router.layout import layout
from router.scheduler import End, Scheduler

MODEL = "model: llama-3.1-70b, precision: fp8"


def config(*pools: str, rest: str = "") -> Config:
    """A fleet file of these pools; `rest` is appended. A file that is refused has not done what is claimed."""
    lines = "\n".join(f"  - {{{pool}}}" for pool in pools)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.yaml"
        file.write_text(f"models: [{{name: llama-3.1-70b}}, {{name: llama-3.1-8b}}]\npools:\n{lines}\n{rest}\n")
        try:
            return load(file)
        except ConfigError as error:
            raise AssertionError(str(error)) from None


def served(fleet: Config, seconds: float = 20.0, rate_per_s: float = 4.0) -> dict[str, Any]:
    """The report of a short simulation of made arrivals under the file's own policy."""
    workload = Workload(
        rate_per_s=rate_per_s, input=Lognormal(500, 0.5), output=Lognormal(50, 0.5), duration_s=seconds, seed=1
    )
    traffic = Traffic.of(fleet, None, None, 1)
    return report(simulated(fleet, layout(fleet), fleet.policy.name, workload, traffic, timing=False))


def placed(fleet: Config, slo: Slo, policy: str = "cost-slo") -> str:
    """The pool a lone request decodes in."""
    built = layout(fleet)
    scheduler = Scheduler(Fleet(built.workers, built.links), load_policy(policy, {}))
    [decision] = scheduler.submit(Request("r", "llama-3.1-70b", 1000, 0.0, 200, slo), 0.0)
    assert isinstance(decision.outcome, Placement)
    return decision.outcome.decode.pool.name


def carried(workers: int, chips: int, requests: int) -> int:
    """Requests that a fleet of so many workers took at once and gave back; it stands for workers x chips."""
    pool = f"name: all, device: h100-sxm, tp: {chips}, {MODEL}, simulate: {workers}"
    built = layout(config(pool))
    assert sum(worker.pool.chips for worker in built.workers) == workers * chips
    scheduler = Scheduler(Fleet(built.workers, built.links), load_policy("power-of-two", {}), queue_limit=requests)
    decisions = [
        decision
        for i in range(requests)
        for decision in scheduler.submit(Request(f"r{i}", "llama-3.1-70b", 1000, 0.0, 200), i * 1e-3)
    ]
    taken = [decision for decision in decisions if isinstance(decision.outcome, Placement)]
    for decision in taken:
        scheduler.prefilled(decision.request.id, 1, 10.0)
        scheduler.attempt_ended(decision.request.id, 1, End.FINISHED, 200, 20.0)
    assert scheduler.fleet.idle
    return len({decision.request.id for decision in taken})


def prefills(done: dict[str, Any], pools: Sequence[str]) -> int:
    """Requests prefilled in any of these pools."""
    return sum(done["by_pool"].get(pool, {}).get("prefill_requests", 0) for pool in pools)
