"""Published timings as values: one iteration, one closed-loop run, the requests of one run, single operators.

Names are resolved through the catalogue when a file is read (`devices.calibration.measured_files`), so all here is
comparable across sources. Seconds and tokens throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.profile import DeviceProfile, ModelProfile, Precision


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured.

    Attributes:
        engine, version: of the software, "vllm" and "0.19.0"; "" where a source does not say.
    """

    device: DeviceProfile
    model: ModelProfile
    engine: str
    version: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class Split:
    """How one engine instance is cut over its chips.

    Attributes:
        replicas: copies of the attention layers (attention data parallelism); `chips / replicas` share each copy.
        experts_sharded: whole experts lie on different chips (expert parallelism) instead of slices on all of them.
    """

    chips: int
    replicas: int = 1
    experts_sharded: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """The workers that serve a phase; `workers` is 0 where the source does not say how many there were."""

    workers: int
    split: Split


@dataclass(frozen=True, slots=True)
class Iteration:
    """Seconds of one iteration: `decodes` sequences holding `kv_tokens` tokens together, beside `prompts` chunks.

    Attributes:
        new_tokens, context_tokens: of each chunk: tokens computed, and tokens of its prompt held before.
        kind: how the figure came about, as its source says: "measured" is a whole iteration on a clock.
    """

    setup: Setup
    split: Split
    decodes: int
    kv_tokens: float
    prompts: int
    new_tokens: int
    context_tokens: int
    seconds: float
    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """A closed loop: `concurrency` clients, each of which sends its next request when the last one is answered.

    Attributes:
        prefill: None where one pool does both phases.
        ttft_s, tpot_s: as the benchmark summarised them over all requests.
    """

    id: str
    setup: Setup
    prompt_tokens: int
    output_tokens: int
    concurrency: float
    prefill: Side | None
    decode: Side
    ttft_s: float
    tpot_s: float
    source: str

    @property
    def declared(self) -> bool:
        """Whether the source says how many workers shared the load; without that nothing can be predicted."""
        return self.decode.workers > 0 and (self.prefill is None or self.prefill.workers > 0)

    @property
    def kind(self) -> str:
        """How it was served."""
        if not self.declared:
            return "undeclared"
        return "agg" if self.prefill is None else "disagg"


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """One request of a replayed run; all times on the run's clock, 0 at the first arrival."""

    run: str
    id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One MLPerf result: `units` accelerators together, at the rate the benchmark accepted.

    Attributes:
        device: None where the system is not one kind of device of the catalogue.
        ttft_s, tpot_s: means; None in offline runs, which have no latency.
    """

    system: str
    submitter: str
    round: str
    division: str
    benchmark: str
    scenario: str
    device: DeviceProfile | None
    chips: int
    valid: bool
    requests_per_s: float
    output_tokens_per_s: float
    ttft_s: float | None
    tpot_s: float | None
    source: str


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of a hosted model, network included."""

    provider: str
    model: str
    prompt_tokens: int
    output_tokens: int
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer without its attention, over `tokens` tokens."""

    setup: Setup
    split: Split
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CollectiveTime:
    """One collective operation over `ways` devices, `size` bytes on each."""

    fabric: str
    collective: str
    ways: int
    per_node: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Published:
    """One figure of a vendor's recipe, in the unit its `metric` names."""

    device: DeviceProfile
    model: str
    chips: str
    prompt_tokens: int
    output_tokens: int
    metric: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class LoadSample:
    """What an engine reported at one second of a run."""

    at_s: float
    running: int
    waiting: int
    kv_share: float


@dataclass(frozen=True, slots=True)
class EngineRun:
    """How the engine of a replayed run was set up; `kv_tokens` is None where it was not recorded."""

    run: str
    device: DeviceProfile
    model: ModelProfile
    chips: int
    max_seqs: int
    max_batched_tokens: int
    kv_tokens: int | None
    version: str


Measurement = (
    Iteration
    | EndToEnd
    | RequestTimes
    | EngineRun
    | ServerRun
    | ApiCall
    | LayerTime
    | CollectiveTime
    | Published
    | LoadSample
)
