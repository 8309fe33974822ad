"""Whatever is sent to a simulated worker: nothing is lost, nothing leaks, and a slow obvious simulator agrees.

All times are whole ticks of 1/1024 s, exact in floating point; aborts, releases and renewals fall between ticks, each
on a fraction of its own, so that none ties with anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.simulated.engine import Sequence, SimulatedWorker, State, Step
from devices.worker import Limits

TICK = 1 / 1024
LEASE_S = 40 * TICK
LIMITS = Limits(
    kv_tokens=160, max_seqs=4, hard_slots=False, max_batched_tokens=12, max_context_tokens=150, block_size=16
)


class Dyadic:
    """Iteration times are whole ticks, and depend on everything that the worker reports about the iteration."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return self.step_s(0, 0, [(new_tokens, cached_tokens)])

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return self.step_s(sequences, kv_tokens, [])

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return TICK * (2 + decodes + kv_tokens // 16 + sum(new + context // 8 for new, context in chunks))


@dataclass(frozen=True)
class Order:
    """One sequence of a story; `withdrawn`, `fetched`, `renewed`: ticks from submit to abort, release, renewal."""

    at: int
    prompt: int
    output: int
    cached: int
    pin: bool
    transfer: int | None
    withdrawn: int | None
    fetched: int | None
    renewed: int | None


def orders() -> st.SearchStrategy[list[Order]]:
    order = st.builds(
        Order,
        at=st.integers(0, 60).map(lambda tick: 2 * tick),
        prompt=st.integers(1, 60),
        output=st.integers(1, 12),
        cached=st.integers(0, 70),
        pin=st.booleans(),
        transfer=st.none() | st.none() | st.integers(1, 30),
        withdrawn=st.none() | st.integers(0, 200),
        fetched=st.none() | st.integers(0, 200),
        renewed=st.none() | st.integers(0, 200),
    )
    return st.lists(order, max_size=9)


Event = tuple[float, int, str]  # when, which order, what


def events(story: list[Order]) -> list[Event]:
    found: list[Event] = []
    for number, order in enumerate(story):
        found.append((order.at * TICK, number, "submit"))
        delays = {"abort": order.withdrawn, "release": order.fetched, "renew": order.renewed}
        for kind, (what, delay) in enumerate(delays.items()):
            if delay is not None:
                between = (1 + 16 * kind + number) / 64
                found.append(((order.at + delay + between) * TICK, number, what))
    return sorted(found)


def sequence(number: int, order: Order) -> Sequence:
    ready = None if order.transfer is None else (order.at + order.transfer) * TICK
    return Sequence(str(number), order.prompt, order.output, order.cached, pin=order.pin, kv_ready_s=ready)


@dataclass
class Run:
    worker: SimulatedWorker
    sequences: dict[int, Sequence] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def apply(self, event: Event, story: list[Order]) -> None:
        now, number, what = event
        if what == "submit":
            self.sequences[number] = sequence(number, story[number])
            self.worker.submit(self.sequences[number], now)
        elif what == "abort":
            self.worker.abort(str(number), now)
        elif what == "release":
            self.worker.release(str(number), now)
        else:
            self.worker.renew(str(number), now)
        self.check()

    def check(self) -> None:
        worker = self.worker
        held = sum(
            s.kv_tokens
            for s in self.sequences.values()
            if s.state in (State.TRANSFER, State.READY, State.PREFILL, State.DECODE)
        )
        assert worker.kv_tokens == held + worker.pinned_tokens <= LIMITS.kv_tokens
        assert worker.running + worker.transferring <= LIMITS.max_seqs
        live = worker.waiting + worker.running + worker.transferring
        assert worker.submitted == worker.finished + worker.aborted + live

    def advance(self, now: float) -> None:
        self.steps += self.worker.advance(now)
        self.check()


def played(story: list[Order], looks: list[int], *, list_decoded: bool = True) -> Run:
    """Play a story to its end; `looks` are extra moments, in ticks, at which the worker is asked to advance."""
    run = Run(SimulatedWorker(Dyadic(), LIMITS, lease_s=LEASE_S, list_decoded=list_decoded))
    moments: list[tuple[float, Event | None]] = [(event[0], event) for event in events(story)]
    moments += [(look * TICK / 2, None) for look in looks]
    for now, event in sorted(moments, key=lambda moment: moment[0]):
        if event is None:
            run.advance(now)
        else:
            run.apply(event, story)
    while run.worker.next_event_s < math.inf:
        run.advance(run.worker.next_event_s)
    run.advance(1e6)
    return run


def token_times(steps: list[Step], sequence: Sequence) -> list[float]:
    return [step.end_s for step in steps if sequence in step.decoded]


@settings(deadline=None, derandomize=True, max_examples=120)
@given(orders(), st.lists(st.integers(0, 400), max_size=8))
def test_every_sequence_ends_once_and_nothing_stays_reserved(story: list[Order], looks: list[int]) -> None:
    run = played(story, looks)
    worker = run.worker
    assert worker.finished + worker.aborted == worker.submitted == len(story)
    assert (worker.kv_tokens, worker.pinned_tokens, worker.running, worker.waiting, worker.transferring) == (0,) * 5
    finished = [s for step in run.steps for s in step.finished]
    assert len(finished) == len(set(finished)) == worker.finished
    assert all((s in finished) == (s.state is State.FINISHED) for s in run.sequences.values())


@settings(deadline=None, derandomize=True, max_examples=80)
@given(orders(), st.lists(st.integers(0, 400), max_size=8))
def test_model_time_is_monotone_and_a_finished_sequence_got_every_token(story: list[Order], looks: list[int]) -> None:
    run = played(story, looks)
    assert all(step.start_s < step.end_s for step in run.steps)
    assert all(a.end_s <= b.start_s for a, b in zip(run.steps, run.steps[1:], strict=False))
    for s in run.sequences.values():
        times = token_times(run.steps, s)
        assert times == sorted(set(times))
        if s.state is State.FINISHED:
            assert len(times) == s.output_tokens
            assert (s.first_s, s.ended_s) == (times[0], times[-1])
            assert s.submitted_s <= s.admitted_s < s.first_s
        else:
            assert len(times) < s.output_tokens
    assert sum(step.tokens for step in run.steps) == sum(len(step.decoded) for step in run.steps)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(orders())
def test_admission_keeps_the_order_of_arrival(story: list[Order]) -> None:
    run = played(story, [])
    admitted = [s for s in run.sequences.values() if not math.isnan(s.admitted_s)]
    in_order = sorted(admitted, key=lambda s: s.submitted_s)
    assert [s.admitted_s for s in in_order] == sorted(s.admitted_s for s in admitted)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(orders(), st.lists(st.integers(0, 400), max_size=20))
def test_the_result_does_not_depend_on_how_often_the_worker_is_asked(story: list[Order], looks: list[int]) -> None:
    rarely, often, cheaply = played(story, []), played(story, looks), played(story, looks, list_decoded=False)
    assert summary(rarely.steps) == summary(often.steps) == summary(cheaply.steps)


def summary(steps: list[Step]) -> list[tuple[float, float, int, int, list[str], list[str]]]:
    return [
        (s.start_s, s.end_s, s.tokens, s.prefilled_tokens, [x.id for x in s.first], [x.id for x in s.finished])
        for s in steps
    ]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(orders())
def test_a_naive_simulator_gives_the_same_token_times(story: list[Order]) -> None:
    run = played(story, [])
    naive = Naive(story)
    naive.play()
    assert {n: token_times(run.steps, s) for n, s in run.sequences.items()} == naive.tokens
    assert run.worker.lease_expired == naive.expired


@dataclass
class Job:
    """A sequence of the naive simulator: `done` counts computed prompt tokens, `produced` output tokens."""

    number: int
    order: Order
    phase: str = "waiting"
    done: int = 0
    produced: int = 0
    ready: float = 0.0
    lease_end: float = math.inf

    @property
    def kv(self) -> int:
        return math.ceil((self.order.prompt + self.order.output) / 16) * 16


class Naive:
    """The rules written out plainly: every sequence is looked at in every iteration, nothing is counted ahead."""

    def __init__(self, story: list[Order]) -> None:
        self.events = events(story)
        self.jobs = [Job(number, order) for number, order in enumerate(story)]
        self.tokens: dict[int, list[float]] = {job.number: [] for job in self.jobs}
        self.here: list[Job] = []
        self.batch: list[tuple[Job, int]] = []  # (job, prompt tokens computed; 0 for a decode)
        self.end = math.inf
        self.expired = 0

    def play(self) -> None:
        while (now := self.next()) < math.inf:
            if self.end <= now:
                self.finish_iteration()
            for job in self.here:
                if job.phase == "transfer" and job.ready <= now:
                    job.phase = "ready"
                if job.phase == "pinned" and job.lease_end <= now:
                    job.phase = "gone"
                    self.expired += 1
            while self.events and self.events[0][0] <= now:
                self.handle(*self.events.pop(0))
            if self.end == math.inf:
                self.start_iteration(now)
            else:
                self.admit(now, 0)

    def next(self) -> float:
        times = [self.end, *(event[0] for event in self.events[:1])]
        times += [job.ready for job in self.here if job.phase == "transfer"]
        times += [job.lease_end for job in self.here if job.phase == "pinned"]
        return min(times)

    def handle(self, now: float, number: int, what: str) -> None:
        job = self.jobs[number]
        if what == "submit":
            self.here.append(job)
        elif what in ("abort", "release") and job.phase != "gone":
            if (what == "release") == (job.phase == "pinned"):
                job.phase = "gone"
        elif what == "renew":
            job.lease_end = now + LEASE_S

    def admit(self, now: float, budget: int) -> None:
        for job in self.here:
            if job.phase != "waiting":
                continue
            held = [other for other in self.here if other.phase not in ("waiting", "gone")]
            slots = sum(other.phase != "pinned" for other in held)
            if slots >= LIMITS.max_seqs or sum(other.kv for other in held) + job.kv > LIMITS.kv_tokens:
                return
            if job.order.transfer is not None:
                job.phase, job.ready = "transfer", now + job.order.transfer * TICK
            elif budget > 0:
                job.phase, job.done = "prefill", min(job.order.cached, job.order.prompt - 1)
                budget -= self.chunk(job, budget)
            else:
                return

    def chunk(self, job: Job, budget: int) -> int:
        size = min(budget, job.order.prompt - job.done)
        self.batch.append((job, size))
        return size

    def start_iteration(self, now: float) -> None:
        self.batch = []
        for job in self.here:
            if job.phase == "ready":
                job.phase = "decode"
            if job.phase == "decode":
                self.batch.append((job, 0))
        budget = LIMITS.max_batched_tokens - len(self.batch)
        for job in self.here:
            if job.phase == "prefill" and budget > 0:
                budget -= self.chunk(job, budget)
        self.admit(now, budget)
        if self.batch:
            decodes = [job for job, size in self.batch if not size]
            context = sum(job.order.prompt + job.produced for job in decodes)
            chunks = [(size, job.done) for job, size in self.batch if size]
            self.end = now + Dyadic().step_s(len(decodes), context, chunks)

    def finish_iteration(self) -> None:
        for job, size in self.batch:
            job.done += size
            if job.phase == "gone" or (size and job.done < job.order.prompt):
                continue
            job.phase = "decode"
            job.produced += 1
            self.tokens[job.number].append(self.end)
            if job.produced == job.order.output:
                job.phase, job.lease_end = ("pinned" if job.order.pin else "gone"), self.end + LEASE_S
        self.end = math.inf
