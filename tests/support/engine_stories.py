"""Random lives of an engine: a device, its limits and what callers do at which moment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from engine_oracle import Asked, Oracle
from hypothesis import strategies as st

from devices import catalog
from devices.natures.choice import predictor, prior
from devices.natures.fitted import FittedPredictor
from devices.natures.hbm import HbmPredictor
from devices.natures.padded import PaddedPredictor
from devices.natures.tier import Tier
from devices.profile import Precision
from devices.worker import Limits, Predictor

TICK_S = 2.0**-20
"""All exact stories are told in whole ticks, so their sums are exact and moments coincide."""


@dataclass(frozen=True, slots=True)
class TickPredictor:
    """An iteration in whole ticks, with every knee a nature can have:

    fixed + token * min(S, knee) + more * max(S - knee, 0) + sequence * B + pair * sum(P * (2 * context + P))
    + (kv + tier) * K - tier * min(K, tier_tokens) + bounded * min(K, bound * B)
    """

    fixed: int
    token: int = 0
    knee: int = 1
    more: int = 0
    sequence: int = 0
    pair: int = 0
    kv: int = 0
    bounded: int = 0
    bound: int = 1
    tier: int = 0
    tier_tokens: int = 1

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        tokens = decodes + sum(new for new, _ in chunks)
        ticks = self.fixed + self.token * min(tokens, self.knee) + self.more * max(tokens - self.knee, 0)
        ticks += self.sequence * decodes + self.pair * sum(new * (2 * context + new) for new, context in chunks)
        reading = (self.kv + self.tier) * kv_tokens - self.tier * min(kv_tokens, self.tier_tokens)
        return (ticks + reading + self.bounded * min(kv_tokens, self.bound * decodes)) * TICK_S

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        """By looking at its slopes: a knee is wherever one of the two minima turns."""
        slope = self.kv + (0 if kv_tokens < self.tier_tokens else self.tier)
        slope += self.bounded if kv_tokens < self.bound * sequences else 0
        knees = [knee for knee in (self.tier_tokens, self.bound * sequences) if kv_tokens < knee]
        return self.step_s(sequences, kv_tokens, []), slope * TICK_S, min(knees, default=math.inf)


@dataclass(frozen=True)
class Call:
    """What a caller does after a wait: so many seconds, then on to the so-manieth event from there."""

    wait_s: float
    events: int
    verb: str
    asked: Asked | None = None
    id: str = ""


@dataclass(frozen=True)
class Story:
    predictor: Predictor
    limits: Limits
    lease_s: float
    prefix_tokens: int
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Timed:
    """A call at its moment, what the oracle answered, and its load thereafter: (running or transferring, waiting,
    tokens pinned)."""

    now: float
    verb: str
    asked: Asked | None
    id: str
    answer: object
    load: tuple[int, int, int]


def oracle_of(story: Story) -> Oracle:
    return Oracle(story.predictor, story.limits, lease_s=story.lease_s, prefix_tokens=story.prefix_tokens)


def told(story: Story) -> tuple[Oracle, list[Timed]]:
    """The whole story as the oracle lives it, and the moments at which its calls were made."""
    oracle, now, calls = oracle_of(story), 0.0, []
    for call in story.calls:
        now += call.wait_s
        oracle.run(now)
        for _ in range(call.events):
            now = oracle.next_event_s if oracle.next_event_s < math.inf else now
            oracle.run(now)
        answer = _made(oracle, call, now)
        calls.append(Timed(now, call.verb, call.asked, call.id, answer, oracle.load))
    finish(oracle)
    return oracle, calls


def finish(oracle: Oracle) -> None:
    """Run until nothing happens any more; everybody has come to an end by then."""
    while oracle.next_event_s < math.inf:
        oracle.run(oracle.next_event_s)
    assert oracle.queue + oracle.running + oracle.transferring + oracle.pinned == []


def _made(oracle: Oracle, call: Call, now: float) -> object:
    match call.verb:
        case "abort":
            return oracle.abort(call.id, now)
        case "release":
            return oracle.release(call.id, now)
        case "renew":
            return oracle.renew(call.id, now) is not None
    assert call.asked is not None
    try:
        oracle.submit(call.asked, now)
    except ValueError:
        return False
    return True


# Limits and workloads


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Room for a few sequences only, so that they get into each other's way."""
    block_size = draw(st.integers(1, 16))
    blocks = draw(st.one_of(st.integers(2, 12), st.integers(2, 60)))
    kv_tokens = blocks * block_size + draw(st.integers(0, block_size - 1))
    return Limits(
        kv_tokens=kv_tokens,
        max_seqs=draw(st.sampled_from([4, 2, 3, 6, 16, 64, 1])),
        hard_slots=draw(st.sampled_from([False, False, False, True])),
        max_batched_tokens=draw(st.one_of(st.integers(1, 12), st.sampled_from([16, 64, 2048]))),
        max_context_tokens=draw(st.sampled_from([100_000, 100_000, kv_tokens // 2 + 2])),
        block_size=block_size,
    )


WAITS = ("together", "together", "short", "long", "event", "event", "events")
VERBS = ("plain", "plain", "prefix", "prefix", "prefix", "leg", "leg", "pin", "pin", "again", "abort", "abort")
VERBS += ("release", "release", "renew")
_CALL = st.tuples(
    st.sampled_from(WAITS),
    st.integers(0, 50),
    st.sampled_from(VERBS),
    st.integers(0, 119),
    st.integers(0, 159),
    st.integers(0, 63),
)
_CALLS = st.one_of(st.lists(_CALL, min_size=10, max_size=30), st.lists(_CALL, min_size=1, max_size=10))
Draw = tuple[str, int, str, int, int, int]


@st.composite
def tick_stories(draw: st.DrawFn) -> Story:
    """In whole ticks: exact, with many things at one instant."""
    at_most = [("token", 3), ("knee", 40), ("more", 5), ("sequence", 5), ("pair", 1), ("kv", 3)]
    at_most += [("bounded", 3), ("bound", 40), ("tier", 2), ("tier_tokens", 300)]
    least = {"knee": 1, "bound": 1, "tier_tokens": 1}
    figures = {name: draw(st.integers(least.get(name, 0), most)) for name, most in at_most}
    under = TickPredictor(fixed=draw(st.integers(1, 40)), **figures)
    fits, prefix_tokens = _sizes(draw)
    lease_s = draw(st.sampled_from([10, 100, 1000, 10_000])) * TICK_S
    calls = _calls(draw(_CALLS), fits, prefix_tokens, (TICK_S, TICK_S), on_events=True)
    return Story(under, fits, lease_s, prefix_tokens, calls)


@st.composite
def device_stories(draw: st.DrawFn) -> Story:
    """On devices of the catalogue, at moments that never coincide with an iteration's end by chance."""
    under = real_predictors()[draw(st.sampled_from(sorted(real_predictors())))]
    fits, prefix_tokens = _sizes(draw)
    step_s = under.step_s(1, 100, [])
    # irrational units: no sum of waits is a sum of iterations, whose ends differ in their last bits
    units = step_s * math.sqrt(2) / 50, step_s * math.sqrt(3) / 50
    lease_s = draw(st.sampled_from([1, 10, 100])) * step_s * math.sqrt(5)
    return Story(under, fits, lease_s, prefix_tokens, _calls(draw(_CALLS), fits, prefix_tokens, units, on_events=False))


def _sizes(draw: st.DrawFn) -> tuple[Limits, int]:
    fits = draw(limits())
    return fits, fits.block_size * draw(st.integers(1, 4))


def _calls(
    drawn: Sequence[Draw], fits: Limits, prefix_tokens: int, units: tuple[float, float], *, on_events: bool
) -> tuple[Call, ...]:
    wait_unit_s, transfer_unit_s = units
    calls: list[Call] = []
    submitted: list[str] = []
    pins: list[str] = []
    for number, (wait, amount, verb, a, b, c) in enumerate(drawn):
        on_event = on_events and wait.startswith("event")
        seconds = {"together": 0.0, "short": 1.0, "long": 40.0}.get(wait, 0.0 if on_event else 7.0)
        wait_s = seconds * amount * wait_unit_s
        events = (1 + amount % 3 if wait == "event" else amount) if on_event else 0
        to = pins if verb in ("release", "renew") and pins else submitted
        earlier = to[-1 - c % min(len(to), 8)] if to else f"s{number}"
        if verb in ("abort", "release", "renew"):
            calls.append(Call(wait_s, events, verb, id=earlier))
            continue
        id = earlier if verb == "again" else f"s{number}"
        asked = _asked(id, verb, (a, b, c), fits, prefix_tokens, transfer_unit_s)
        submitted.append(id)
        pins += [id] if asked.pin else []
        calls.append(Call(wait_s, events, "submit", asked))
    return tuple(calls)


def _asked(
    id: str, verb: str, numbers: tuple[int, int, int], fits: Limits, prefix_tokens: int, transfer_unit_s: float
) -> Asked:
    a, b, c = numbers
    prompt, prefix = 1 + a, ()
    if verb == "prefix" or (verb != "plain" and c % 2):
        prompt, prefix = _prompt(a, b, c, prefix_tokens)
    if c % 32 != 31:  # now and then one that can never run
        prompt = max(1, min(prompt, fits.kv_tokens // fits.block_size * fits.block_size - 1))
        b = min(b, max(fits.kv_tokens // fits.block_size * fits.block_size - prompt - 1, 0))
    prefix = prefix[: -(-prompt // prefix_tokens)]
    if verb == "pin":
        return Asked(id, prompt, 1, prefix, pin=True)
    transfer_s = (0, 0, 1, 20, 300, b)[c % 6] * transfer_unit_s if verb == "leg" else None
    return Asked(id, prompt, 1 + b, prefix, transfer_s=transfer_s)


def _prompt(a: int, b: int, c: int, prefix_tokens: int) -> tuple[int, tuple[int, ...]]:
    """A path down one of two trees of shared texts, then perhaps a few tokens of an id that is partly filled."""
    ids: list[int] = []
    node = 0
    for depth in range(1 + a % 6):
        node = node * 3 + 1 + (c >> depth & 1)
        ids.append(node)
    tail = b % prefix_tokens
    prompt = len(ids) * prefix_tokens + tail
    if tail and a % 4:
        ids.append(1_000_000 + node * 100 + tail)  # equal only where the whole text is
    return prompt, tuple(ids)


# Devices


@cache
def real_predictors() -> dict[str, Predictor]:
    """One of each nature, and of each knee: windows of attention, a tier of on-chip memory, both within reach."""
    dense, mixture = catalog.model("llama-3.1-8b"), catalog.model("gpt-oss-20b")
    bf16, fp16 = Precision.BF16, Precision.FP16

    def of(device: str, chips: int = 1, *, windowed: bool = True) -> Predictor:
        return prior(catalog.device(device), mixture if windowed else dense, chips, bf16, fp16, 2048)

    fitted = predictor(catalog.device("h100-sxm"), catalog.model("gpt-oss-120b"), 1, Precision.FP4, fp16)
    hbm, padded = of("h100-sxm"), of("maia-200", windowed=False)
    assert isinstance(fitted, FittedPredictor)
    assert isinstance(hbm, HbmPredictor)
    assert hbm.bounds is not None
    assert isinstance(padded, PaddedPredictor)
    assert padded.tier is not None
    return {
        "hbm": of("h100-sxm", windowed=False),
        "hbm, mixture, window": hbm,
        "hbm, mixture, narrow window": replace(hbm, bounds=replace(hbm.bounds, tokens=30)),
        "hbm, window and tier": replace(hbm, tier=Tier(0.0, 300.5, hbm.kv_s / 2)),
        "fitted, window": replace(fitted, bound_tokens=50),
        "padded, window": of("tpu-v6e"),
        "padded, tier": replace(padded, tier=replace(padded.tier, kv_tokens=200.0)),
        "sram, window": of("groq-lpu-v1", 100),
        "cpu, window": of("xeon-6980p"),
        "cpu": of("graviton4", windowed=False),
        "composite": of("vera-rubin-lpx", windowed=False),
        "composite, layers split": of("trainium3-cs3"),
    }
