"""How busy one worker can be and still keep a promise, and what part of its time each kind of token takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from math import ceil, inf, log

from devices.worker import Limits, Predictor


@dataclass(frozen=True, slots=True)
class Workload:
    """The mean request. `cached_tokens` are part of `prompt_tokens`; `output_tokens` is at least 2."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        if self.output_tokens < 2 or not 0 <= self.cached_tokens < self.prompt_tokens:
            raise ValueError(f"{self}: needs 2 output tokens or more, and a prompt with at least one token not cached")

    @property
    def fresh_tokens(self) -> int:
        """Of the prompt, what has to be prefilled."""
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True)
class Promise:
    """Limits on the time to first token and per output token; None is no limit.

    Attributes:
        kept: share of requests whose first token must be in time. TPOT is a mean over a request's tokens and varies
            little between requests: published MLPerf Server runs have p99 at 1.02 to 1.3 of their median.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    kept: float = 0.99


class Bound(Enum):
    """What ends a worker's growth."""

    TPOT = "tpot"
    TTFT = "ttft"
    MEMORY = "kv memory"
    SLOTS = "slots"
    PREFILL = "prefill rate"
    """Prompts arrive as fast as the token budget of an iteration takes them in."""
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One worker in a steady state.

    Attributes:
        batch: sequences that decode at once, on average.
        bound: what the next larger batch would break.
        input_s, cached_s, output_s: worker seconds of one token: prompt token prefilled, prompt token found in cache,
            token written. What a request's tokens take adds up to 1 / `requests_per_s`.
    """

    batch: int
    requests_per_s: float
    ttft_s: float
    tpot_s: float
    bound: Bound
    input_s: float
    cached_s: float
    output_s: float

    def faster(self, factor: float) -> OperatingPoint:
        """The same latencies at so many times the throughput, by means the iteration model does not know of."""
        return replace(
            self,
            requests_per_s=self.requests_per_s * factor,
            input_s=self.input_s / factor,
            cached_s=self.cached_s / factor,
            output_s=self.output_s / factor,
        )


@dataclass(frozen=True, slots=True)
class Unkept:
    """Not even a single sequence keeps the promise: what stands against it, and the best this worker does."""

    bound: Bound
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class _Iterations:
    """The steady mix of iterations at a batch: a share `mixed_share` carries prefill chunks, the rest only decodes.

    Attributes:
        prompts: that come in, and sequences that end, in one iteration.
        mean_s, decode_s, mixed_s, prefill_s: seconds of the mean iteration, one without prefill, one with, and one of
            those chunks alone. uncached_s: one with, had nothing been cached.
        turn_s, own_s: seconds a prompt keeps others waiting when many queue, and seconds it is itself prefilled.
    """

    batch: int
    prompts: float
    mixed_share: float
    mean_s: float
    decode_s: float
    mixed_s: float
    prefill_s: float
    uncached_s: float
    turn_s: float
    own_s: float


def operating_point(
    predictor: Predictor, limits: Limits, workload: Workload, promise: Promise
) -> OperatingPoint | Unkept:
    """The busiest steady state that keeps the promise, of all batches up to the largest that does.

    Iteration times grow with the batch, so the largest is found by halving. Padded shapes may serve more at a smaller
    batch, just below a bucket: powers of two are looked at too.
    """
    bound = _broken(predictor, limits, workload, promise, 1)
    if bound:
        single = _iterations(predictor, limits, workload, 1)
        return Unkept(bound, _ttft_s(promise, single), single.mean_s)
    low, high = 1, limits.max_seqs + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _broken(predictor, limits, workload, promise, middle):
            high = middle
        else:
            low = middle
    bound = _broken(predictor, limits, workload, promise, high) or Bound.SLOTS
    batches = {low, *(1 << power for power in range(low.bit_length()))}
    best = max((_iterations(predictor, limits, workload, batch) for batch in batches), key=_rate_key)
    return _point(predictor, workload, promise, best, bound)


def _rate_key(mix: _Iterations) -> tuple[float, int]:
    return mix.batch / mix.mean_s, mix.batch


def _broken(predictor: Predictor, limits: Limits, workload: Workload, promise: Promise, batch: int) -> Bound | None:
    """What a batch breaks, None if nothing."""
    full_tokens = workload.prompt_tokens + workload.output_tokens
    if full_tokens > limits.max_context_tokens:
        return Bound.CONTEXT
    if batch > limits.max_seqs:
        return Bound.SLOTS
    held = full_tokens if limits.hard_slots else _mean_context(workload)
    if batch * held > limits.kv_tokens:
        return Bound.MEMORY
    mix = _iterations(predictor, limits, workload, batch)
    ttft_s = _ttft_s(promise, mix)
    if mix.mixed_share > 1 or ttft_s == inf:
        return Bound.PREFILL
    if promise.tpot_s is not None and mix.mean_s > promise.tpot_s:
        return Bound.TPOT
    return Bound.TTFT if promise.ttft_s is not None and ttft_s > promise.ttft_s else None


def _mean_context(workload: Workload) -> float:
    return workload.prompt_tokens + workload.output_tokens / 2


def _iterations(predictor: Predictor, limits: Limits, workload: Workload, batch: int) -> _Iterations:
    """A sequence takes part in output - 1 iterations, its first token coming from prefill; as many prompts must come in
    as sequences end. They come whole, one at a time, unless the token budget cuts them or several must share a step.
    """
    prompts = batch / (workload.output_tokens - 1)
    room = max(1, limits.max_batched_tokens - batch)
    chunk = min(workload.fresh_tokens, room)
    a_step = max(chunk, min(room, ceil(prompts * workload.fresh_tokens)))
    chunks = _chunks(a_step, workload.fresh_tokens, workload.cached_tokens)
    share = prompts * workload.fresh_tokens / a_step
    held = batch * _mean_context(workload)
    decode_s = predictor.decode_step_s(batch, held)
    mixed_s = predictor.step_s(batch, held, chunks)
    bare = _chunks(a_step, workload.fresh_tokens, 0)
    full_s = predictor.step_s(batch, held, _chunks(room, workload.fresh_tokens, workload.cached_tokens))
    turn_s = full_s * workload.fresh_tokens / room
    return _Iterations(
        batch=batch,
        prompts=prompts,
        mixed_share=share,
        mean_s=(1 - share) * decode_s + share * mixed_s,
        decode_s=decode_s,
        mixed_s=mixed_s,
        prefill_s=predictor.step_s(0, 0, chunks),
        uncached_s=predictor.step_s(batch, held, bare),
        turn_s=turn_s,
        own_s=mixed_s if workload.fresh_tokens <= room else turn_s,
    )


def _chunks(tokens: int, fresh: int, cached: int) -> list[tuple[int, int]]:
    """Chunks of (tokens, context) for so many prompt tokens of one step: whole prompts, or the middle of a long one."""
    if tokens < fresh:
        return [(tokens, cached + (fresh - tokens) // 2)]
    whole, rest = divmod(tokens, fresh)
    return [(fresh, cached)] * whole + ([(rest, cached)] if rest else [])


def _ttft_s(promise: Promise, mix: _Iterations) -> float:
    """Time to first token that the promised share of requests sees; infinite where prompts pile up.

    The running iteration ends, prompts before this one are taken in, then its own chunks. Waiting is that of a queue
    with steady service (M/D/1), whose tail falls off as exp(-2 (1 - busy) t / service) in heavy traffic.
    """
    busy = mix.prompts / mix.mean_s * mix.turn_s
    if busy >= 1:
        return inf
    late = 1 - promise.kept
    wait_s = mix.turn_s / (2 * (1 - busy)) * log(busy / late) if busy > late else 0.0
    return mix.mean_s + wait_s + mix.own_s


def _point(
    predictor: Predictor, workload: Workload, promise: Promise, mix: _Iterations, bound: Bound
) -> OperatingPoint:
    """Splits the mean iteration between the prompts and the decodes in it.

    Each bears what it takes alone and half of what the two save by sharing an iteration, since weights are read once
    for both (the Shapley value of two players). Of the prompts' part, cached tokens bear the attention paid to them.
    """
    prefill_s = mix.mixed_share * (mix.mixed_s - mix.decode_s + mix.prefill_s) / 2
    decode_s = mix.mean_s - prefill_s
    cached_s = mix.mixed_share * (mix.mixed_s - mix.uncached_s)
    cached = mix.prompts * workload.cached_tokens
    return OperatingPoint(
        batch=mix.batch,
        requests_per_s=mix.prompts / mix.mean_s,
        ttft_s=_ttft_s(promise, mix),
        tpot_s=mix.mean_s,
        bound=bound,
        input_s=(prefill_s - cached_s) / (mix.prompts * workload.fresh_tokens),
        cached_s=cached_s / cached if cached else _probe_s(predictor, workload, mix),
        output_s=decode_s / (mix.prompts * workload.output_tokens),
    )


def _probe_s(predictor: Predictor, workload: Workload, mix: _Iterations) -> float:
    """Seconds of a cached token where the workload has none: as if a prompt of the same length stood before."""
    fresh = workload.fresh_tokens
    return (predictor.prefill_s(fresh, fresh) - predictor.prefill_s(fresh)) / fresh
