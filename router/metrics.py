"""Every metric Tokenyard exports, and what one ended request adds to them. Described for users in docs/metrics.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from devices.worker import BillingKind, Worker
from policies.api import Placement, Slo
from router.ledger import Books, Entry, Outcome
from router.series import Counts, Distribution

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from router.fleet import Fleet

OTHER = "other"
"""Label of a model or class that is not configured: what a client writes never becomes a label."""
NO_POOL = "none"
"""Label of a request that was never placed."""

TTFT_BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
)
TPOT_BOUNDS_S = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)
"""From 0.25 ms: chips that keep all weights in SRAM decode at 0.3 to 2 ms a token, below the usual first bucket."""
E2E_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
QUEUE_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RATIO_BOUNDS = (0.125, 0.25, 0.5, 0.67, 0.8, 0.91, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0, 8.0)
"""Symmetric round 1 on a log scale: twice too slow and twice too fast are the same error."""

OUR_REJECTIONS = frozenset({"overloaded", "deadline", "draining", "no_worker"})
"""Rejections that break a promise. The others answer the client's doing: a bad body, a missing key, its own limits."""


class Metrics:
    """What the gateway counts. Label values come from configuration only, so the number of series is bounded.

    Args:
        models: every name a client may ask for, aliases too, with the name it is counted under.
        classes: each class's promise; nothing is promised to "default" unless it is among them.
        waiting: length of the scheduler's queue.
        clock: the monotonic one that rent accrues by.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        fleet: Fleet,
        models: Mapping[str, str],
        classes: Mapping[str, Slo],
        waiting: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._models = dict(models)
        self._classes = {"default": Slo(), **classes}
        self._in_flight = 0
        self._count_requests(registry)
        self._time_requests(registry)
        self._count_work(registry)
        self._show_zeros(fleet)
        registry.register(_Gauges(fleet, waiting, lambda: self._in_flight))
        registry.register(_Spend(fleet, self._api_usd, clock))

    def _count_requests(self, registry: CollectorRegistry) -> None:
        self._received = Counts(registry, "tokenyard_requests_received_total", "Requests taken into the books.", ())
        self._ended = Counts(
            registry,
            "tokenyard_requests_total",
            "Requests that ended, each counted once.",
            ("model", "traffic_class", "outcome", "reason"),
        )
        self._slo = Counts(
            registry,
            "tokenyard_slo_requests_total",
            'Requests judged against each limit of their class; slo="all" judges them together.',
            ("traffic_class", "slo", "attained"),
        )

    def _time_requests(self, registry: CollectorRegistry) -> None:
        by = ("model", "traffic_class", "pool")
        self._ttft_s = Distribution(
            registry, "tokenyard_ttft_seconds", "Arrival to first token, by prefill pool.", by, TTFT_BOUNDS_S
        )
        self._tpot_s = Distribution(
            registry,
            "tokenyard_tpot_seconds",
            "Mean time of each output token after the first, by decode pool.",
            by,
            TPOT_BOUNDS_S,
        )
        self._e2e_s = Distribution(
            registry, "tokenyard_e2e_seconds", "Arrival to end of completed requests, by decode pool.", by, E2E_BOUNDS_S
        )
        self._queue_s = Distribution(
            registry, "tokenyard_queue_seconds", "Arrival to the last decision, by prefill pool.", by, QUEUE_BOUNDS_S
        )
        self._ttft_ratio = Distribution(
            registry,
            "tokenyard_ttft_prediction_ratio",
            "Predicted over actual time from decision to first token, by prefill pool.",
            ("pool",),
            RATIO_BOUNDS,
        )
        self._tpot_ratio = Distribution(
            registry,
            "tokenyard_tpot_prediction_ratio",
            "Predicted over actual time per output token, by decode pool.",
            ("pool",),
            RATIO_BOUNDS,
        )

    def _count_work(self, registry: CollectorRegistry) -> None:
        self._tokens = Counts(
            registry,
            "tokenyard_tokens_total",
            'Tokens by pool: "prompt" and its part "cached" at the prefill pool, "output" at the decode pool.',
            ("pool", "kind"),
        )
        self._kv_bytes = Counts(
            registry,
            "tokenyard_kv_transfer_bytes_total",
            "KV cache handed over between pools, by our own arithmetic.",
            ("from_pool", "to_pool"),
        )
        self._api_usd: dict[str, float] = {}

    def _show_zeros(self, fleet: Fleet) -> None:
        """Series a rule takes a `rate()` of exist from the start, else their first event is lost."""
        self._received.add((), 0)
        for name, slo in self._classes.items():
            for limit in ("all", *(limit for limit, _ in _limits(slo))):
                for attained in ("true", "false"):
                    self._slo.add((name, limit, attained), 0)
        for pool in {worker.pool for worker in fleet.workers}:
            for kind in ("prompt", "cached", "output"):
                self._tokens.add((pool.name, kind), 0)
        for link in fleet.links:
            self._kv_bytes.add(link, 0)

    def received(self, entry: Entry) -> None:
        """A request entered the books."""
        self._in_flight += 1
        self._received.add(())

    def ended(self, entry: Entry) -> None:
        """A request left the books; all of its fields are final."""
        if entry.outcome is None:
            raise Books(f"request {entry.id} is counted as ended and has no outcome")
        self._in_flight -= 1
        model = self._models.get(entry.model, OTHER)
        traffic_class = entry.traffic_class if entry.traffic_class in self._classes else OTHER
        self._ended.add((model, traffic_class, entry.outcome.value, entry.reason))
        for limit, attained in verdicts(entry, self._classes.get(traffic_class, Slo())):
            self._slo.add((traffic_class, limit, "true" if attained else "false"))
        placement = entry.placement
        if entry.queue_s is not None:
            pool = placement.prefill.pool.name if placement else NO_POOL
            self._queue_s.observe((model, traffic_class, pool), entry.queue_s)
        if placement:
            self._served(entry, model, traffic_class, placement)
        for taken in entry.handed_over:
            self._kv_bytes.add((taken.prefill.pool.name, taken.decode.pool.name), taken.quote.transfer_bytes)

    def _served(self, entry: Entry, model: str, traffic_class: str, placement: Placement) -> None:
        prefill, decode, quote = placement.prefill.pool, placement.decode.pool, placement.quote
        if entry.ttft_s is not None:
            self._ttft_s.observe((model, traffic_class, prefill.name), entry.ttft_s)
            since_decision_s = entry.ttft_s - (entry.queue_s or 0.0)
            if since_decision_s > 0:
                self._ttft_ratio.observe((prefill.name,), quote.ttft_s / since_decision_s)
        if entry.tpot_s:
            self._tpot_s.observe((model, traffic_class, decode.name), entry.tpot_s)
            self._tpot_ratio.observe((decode.name,), quote.tpot_s / entry.tpot_s)
        if entry.e2e_s is not None and entry.outcome is not None and entry.outcome.column == "completed":
            self._e2e_s.observe((model, traffic_class, decode.name), entry.e2e_s)
        self._tokens.add((prefill.name, "prompt"), entry.prompt_tokens)
        self._tokens.add((prefill.name, "cached"), entry.cached_tokens)
        self._tokens.add((decode.name, "output"), entry.output_tokens)
        if decode.billing.kind is BillingKind.METERED:
            self._api_usd[decode.name] = self._api_usd.get(decode.name, 0.0) + entry.usd


def verdicts(entry: Entry, slo: Slo) -> list[tuple[str, bool]]:
    """(limit, whether it was kept) for each limit set, and ("all", whether every one was); empty if nobody may judge.

    Left out: requests the client gave up or was refused through its own doing. A limit whose time was not measured
    is not judged either, except TPOT below two tokens, which is kept. What did not complete keeps nothing.
    """
    outcome = entry.outcome
    if outcome is Outcome.CLIENT_CANCELLED or (outcome is Outcome.REJECTED and entry.reason not in OUR_REJECTIONS):
        return []
    if outcome is None or outcome.column != "completed":
        return [*((name, False) for name, _ in _limits(slo)), ("all", False)]
    actual = {"ttft": entry.ttft_s, "tpot": entry.tpot_s or 0.0, "e2e": entry.e2e_s}
    judged = [(name, time_s <= limit_s) for name, limit_s in _limits(slo) if (time_s := actual[name]) is not None]
    return [*judged, ("all", all(kept for _, kept in judged))]


def _limits(slo: Slo) -> Iterator[tuple[str, float]]:
    for name, limit_s in (("ttft", slo.ttft_s), ("tpot", slo.tpot_s), ("e2e", slo.e2e_s)):
        if limit_s is not None:
            yield name, limit_s


class _Gauges(Collector):
    """What is true now, read from its owners at each scrape."""

    def __init__(self, fleet: Fleet, waiting: Callable[[], int], in_flight: Callable[[], int]) -> None:
        self._fleet, self._waiting, self._in_flight = fleet, waiting, in_flight
        self._build = {"version": version("tokenyard")}

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("tokenyard_build", "The running version.", self._build)
        yield GaugeMetricFamily("tokenyard_in_flight_requests", "Requests received and not ended.", self._in_flight())
        yield GaugeMetricFamily("tokenyard_queued_requests", "Requests waiting for a placement.", self._waiting())
        of_workers = [GaugeMetricFamily(name, text, labels=("pool", "worker")) for name, text in _OF_A_WORKER]
        for worker in self._fleet.workers:
            for family, value in zip(of_workers, self._values(worker), strict=True):
                family.add_metric((worker.pool.name, worker.name), value)
        yield from of_workers

    def _values(self, worker: Worker) -> tuple[float, ...]:
        """In the order of `_OF_A_WORKER`."""
        load = self._fleet.load(worker)
        return (
            self._fleet.is_routable(worker),
            load.requests,
            load.decodes,
            load.queued_prefill_tokens,
            load.kv_tokens,
            worker.pool.limits.kv_tokens,
        )


_OF_A_WORKER = (
    ("tokenyard_worker_up", "1 while new requests may be placed on the worker."),
    ("tokenyard_worker_in_flight_requests", "Requests on the worker, in either phase."),
    ("tokenyard_worker_decoding_requests", "Sequences decoding, and reserved to."),
    ("tokenyard_worker_queued_prefill_tokens", "Prompt tokens sent and not yet known to be prefilled."),
    ("tokenyard_worker_kv_reserved_tokens", "KV cache tokens reserved."),
    ("tokenyard_worker_kv_limit_tokens", "KV cache tokens that fit."),
)


class _Spend(Collector):
    """Dollars: the rent of the whole fleet by the clock, busy or not, and what metered APIs charged."""

    def __init__(self, fleet: Fleet, api_usd: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._api_usd, self._clock, self._start_s = api_usd, clock, clock()
        workers = Counter(worker.pool for worker in fleet.workers)
        self._rent_usd_per_s = {pool.name: pool.usd_per_s * count for pool, count in workers.items()}

    def collect(self) -> Iterator[Metric]:
        rate = GaugeMetricFamily(
            "tokenyard_pool_rent_usd_per_second", "Rent of all workers of the pool, busy or not.", labels=("pool",)
        )
        spent = CounterMetricFamily(
            "tokenyard_usd_total",
            'Dollars since start: "rent" of the pool, charges of a metered "api".',
            labels=("pool", "kind"),
        )
        uptime_s = self._clock() - self._start_s
        for pool, usd_per_s in self._rent_usd_per_s.items():
            rate.add_metric((pool,), usd_per_s)
            spent.add_metric((pool, "rent"), usd_per_s * uptime_s)
            spent.add_metric((pool, "api"), self._api_usd.get(pool, 0.0))
        yield rate
        yield spent
