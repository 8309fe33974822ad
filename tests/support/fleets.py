"""Random fleets under random load: every nature of device, hard slots, metered APIs, links that cost, idle twins."""

from __future__ import annotations

from dataclasses import replace

from builders import BOTH, DECODE, PREFILL, SteadyPredictor, fleet, request
from hypothesis import strategies as st

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.remote import RemotePredictor
from devices.profile import Precision
from devices.worker import ApiPrice, Billing, BillingKind, Limits, Link, Phase, Pool, Predictor, Worker
from policies.api import Placement, Request
from router.fleet import Fleet
from router.load import WorkerReport

SHAPE = "llama-3.1-70b"


def _built(device_id: str, model_id: str, chips: int, precision: Precision) -> Predictor:
    return predictor(device(device_id), model(model_id), chips, precision, Precision.FP16)


PREDICTORS: tuple[Predictor, ...] = (
    _built("h200-sxm", SHAPE, 4, Precision.FP8),
    _built("h200-sxm", "deepseek-v3", 8, Precision.FP8),
    _built("h200-sxm", "gpt-oss-120b", 2, Precision.FP4),
    _built("maia-200", SHAPE, 8, Precision.FP8),
    _built("tpu-v6e", SHAPE, 8, Precision.BF16),
    _built("groq-lpu-v1", SHAPE, 576, Precision.INT8),
    _built("xeon-6980p", SHAPE, 2, Precision.INT8),
    _built("vera-rubin-lpx", SHAPE, 8, Precision.FP8),
    SteadyPredictor(1e-5, 0.004),
)
"""GPUs dense, mixed and windowed, a chip with a fast tier, a TPU, an SRAM machine, a processor, a composite device, and
one that no table knows."""
API = RemotePredictor(0.3, 0.008, slope_per_sequence=0.05, concurrency=3)
PRICES = (ApiPrice(0.59, 0.79), ApiPrice(0.15, 1.0))
LINKS = (Link(50e9, 0.0005, 2e-6), Link(1e9), Link(10e9, usd_per_byte=2e-11))
CONTEXTS = (4096, 32_768)


@st.composite
def pools(draw: st.DrawFn, name: str) -> Pool:
    """A pool of any kind; small limits, so that some fill up."""
    api = draw(st.integers(0, 5)) == 0
    hard = draw(st.booleans())
    return Pool(
        name=name,
        model="m",
        phases=BOTH if api else draw(st.sampled_from([BOTH, BOTH, PREFILL, DECODE])),
        engine="vllm",
        billing=Billing(BillingKind.METERED, price=draw(st.sampled_from(PRICES)))
        if api
        else Billing(BillingKind.ON_DEMAND, draw(st.sampled_from([0.0, 2.0, 3.6]))),
        predictor=API if api else draw(st.sampled_from(PREDICTORS)),
        limits=Limits(
            draw(st.sampled_from([3000, 20_000, 1_000_000])),
            draw(st.sampled_from([1, 3, 256])),
            hard,
            2048,
            draw(st.sampled_from(CONTEXTS)),
        ),
        shape=None if api else draw(st.sampled_from([None, model(SHAPE)])),
        precision=draw(st.sampled_from([Precision.FP8, Precision.FP16])),
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Up to five pools of up to six workers; a few of them serve only one phase of their pool's two."""
    drawn = [draw(pools(f"pool-{number}")) for number in range(draw(st.integers(1, 5)))]
    workers = [
        Worker(f"{of.name}-{number}", of, "", draw(st.sampled_from([frozenset[Phase](), of.phases])))
        for of in drawn
        for number in range(draw(st.integers(1, 6)))
    ]
    owned = [of.name for of in drawn if not of.metered]
    ends = st.sampled_from(owned or ["nobody"])
    links = draw(st.dictionaries(st.tuples(ends, ends), st.sampled_from(LINKS), max_size=8))
    return fleet(*draw(st.permutations(workers)), links=links)


def requests(number: int) -> st.SearchStrategy[Request]:
    """Requests with and without promises, of which some cannot be split, some avoid workers, some share their heads."""
    limit = st.one_of(st.none(), st.sampled_from([0.01, 0.05, 0.5, 5.0, 100.0]))
    asked = st.builds(
        request,
        st.just(f"r{number}"),
        prompt_tokens=st.sampled_from([1, 100, 1000, 2999, 4000, 10_000]),
        max_tokens=st.one_of(st.none(), st.sampled_from([1, 96, 1000])),
        ttft_s=limit,
        tpot_s=limit,
        e2e_s=limit,
        avoid=st.sampled_from([(), (), ("pool-0-0", "pool-1-1")]),
        min_bits=st.sampled_from([0, 0, 16]),
        splittable=st.sampled_from([True, True, False]),
    )
    prefixes = st.sampled_from([(), (), (), (1,), (1, 2, 3), (1, 2, 4, 5), tuple(range(10, 20))])
    return st.builds(lambda plain, prefix: replace(plain, prefix=prefix), asked, prefixes)


def busy(draw: st.DrawFn, view: Fleet) -> float:
    """Work at random until some time, which is returned: bookings, first tokens, ends, reports, workers lost."""
    now = 0.0
    held = []
    for number in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0.0, 0.01, 0.3, 200.0]))
        asked = draw(requests(number))
        pairs = [(p, d) for d in view.decoders(asked) for p in view.prefillers(asked, d)]
        if pairs:
            prefill, decode = draw(st.sampled_from(pairs))
            quote = view.quote(asked, prefill, decode, now)
            held.append(view.reserve(asked, Placement(prefill, decode, quote), now))
        what = draw(st.integers(0, 9))
        if held and what < 4:
            view.first_token(held[what % len(held)], now)
        elif held and what == 4:
            view.release(held.pop(), now)
        elif held and what == 5:
            view.grown(held[0], 900)
        elif what == 6:
            view.load(draw(st.sampled_from(view.workers))).reported(WorkerReport(7, 1, 0.5, now))
        elif what == 7:
            view.set_routable(draw(st.sampled_from(view.workers)), draw(st.booleans()))
    return now
