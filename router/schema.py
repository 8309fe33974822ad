"""What a fleet file may say. Shapes and ranges only; what must agree across the file is in `config_checks`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from devices.profile import Precision
from devices.worker import BillingKind, Phase
from policies.api import Slo


def _from_the_files_folder(path: Path, info: ValidationInfo) -> Path:
    folder: Path = info.context["folder"] if info.context else Path()
    return folder / path


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]*$")]
PoolName = Annotated[str, Field(max_length=48, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Worker names are made of it, and they go into headers and metric labels."""
Port = Annotated[int, Field(ge=0, le=65535, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Simulated = Annotated[int, Field(ge=1, le=10_000, strict=True)]
Host = Annotated[str, Field(min_length=1, max_length=253)]
Amount = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
File = Annotated[Path, AfterValidator(_from_the_files_folder)]
"""Relative to the folder of the fleet file. Only the path is kept: `config.read_secret` reads it when it is needed."""


class Part(BaseModel):
    """Any mapping of the file: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(Part):
    cert: File
    key: File


class Listen(Part):
    """Where clients connect. Port 0 takes a free one."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    tls: Tls | None = None


class Operator(Part):
    """Where operators and Prometheus connect."""

    host: Host = "127.0.0.1"
    port: Port = 8081
    token_file: File | None = None


class ModelEntry(Part):
    """A model clients may ask for. `shape` is its id in the catalogue, its own name where left out."""

    name: Name
    shape: Name | None = None
    aliases: tuple[Name, ...] = ()
    fallbacks: tuple[Name, ...] = ()


class ClassEntry(Part):
    """What a promise is worth: the limits, and the dollars lost with each request that misses one."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    deadline_s: Positive | None = None
    usd_per_miss: Amount = 0.0
    min_precision: Precision | None = None
    deferrable: bool = False

    @property
    def slo(self) -> Slo:
        return Slo(self.ttft_s, self.tpot_s, self.deadline_s)

    @property
    def min_bits(self) -> int:
        """Least weight precision accepted, 0 for any."""
        return self.min_precision.bits if self.min_precision else 0


class Discover(Part):
    """Workers behind one DNS name, one for each address it resolves to at start-up."""

    dns: Host
    port: Port
    scheme: Literal["http", "https"] = "http"


class BillingEntry(Part):
    """How a pool is paid for; `usd_per_chip_hour` defaults to the catalogue's figure for the device."""

    kind: BillingKind
    usd_per_chip_hour: Amount | None = None
    usd_minimum_per_month: Amount = 0.0


class ApiPriceEntry(Part):
    usd_per_m_input: Amount
    usd_per_m_output: Amount
    usd_per_m_cached_input: Amount | None = None


def _listed(price: object) -> object:
    return None if price == "catalogue" else price


class Api(Part):
    """A metered API.

    Attributes:
        ttft_s, tpot_s: medians measured from here, the network included; as others measured them unless given.
        price: None, written `catalogue`, for the provider's list price of the pool's model.
        rpm: requests a minute the provider grants.
        concurrency: requests sent to it at once.
    """

    provider: Name
    price: Annotated[ApiPriceEntry | None, BeforeValidator(_listed)] = None
    rpm: Count | None = None
    capabilities: tuple[str, ...] = ()
    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    concurrency: Count = 64
    context_tokens: Count = 131_072


class PoolEntry(Part):
    """A named set of like workers: on a device of the catalogue, or an API.

    Attributes:
        tp, chips: chips of one worker, the same thing under the name that fits the device.
        precision: of the weights; the model's own where left out.
        kv_precision: of the cache; where left out, what the links of this pool carry, else 16 bits.
        workers, discover, simulate: their addresses, a DNS name, or how many to simulate. One of the three.
        allow_projected: serve real workers on a device whose timings nobody has measured.
        site, rack, tray: where it stands; an empty rack or tray is another one than any other.
        engine_version, attention_backend: what engines compare before they hand KV over.
        max_seqs, max_batched_tokens, block_size: the engine's own settings where they differ from its defaults.
    """

    name: PoolName
    model: Name
    device: Name | None = None
    api: Api | None = None
    tp: Count | None = None
    chips: Count | None = None
    precision: Precision | None = None
    kv_precision: Precision | None = None
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = (Phase.PREFILL, Phase.DECODE)
    engine: Name | None = None
    billing: BillingEntry | None = None
    site: str = ""
    rack: str = ""
    tray: str = ""
    engine_version: Name | None = None
    attention_backend: Name | None = None
    block_size: Count | None = None
    workers: tuple[str, ...] = ()
    discover: Discover | None = None
    simulate: Simulated | None = None
    allow_projected: bool = False
    key_file: File | None = None
    max_seqs: Count | None = None
    max_batched_tokens: Count | None = None

    @property
    def dialect(self) -> str:
        """The engine: vLLM unless named, plain OpenAI for an API."""
        return self.engine or ("openai" if self.api else "vllm")

    @property
    def chips_per_worker(self) -> int:
        return self.tp or self.chips or 1


class Kv(Part):
    """How KV cache travels over a link: the connector both engines must speak and the width of the cache.

    Attributes:
        block_size: tokens in a block, on both sides unless a pool says otherwise.
        cross_layer_blocks: a block of all layers lies in one piece of memory, so that it is sent as one.
        accept_fragile: use pairs that somebody made work, though any release may break them.
    """

    connector: Name
    dtype: Precision | None = None
    block_size: Count = 16
    cross_layer_blocks: bool = False
    accept_fragile: bool = False


class LinkEntry(Part):
    """A one-way path between two pools, by figures, by preset, or by preset with figures that win over it.

    Attributes:
        preset: a kind of link of the catalogue, "rdma-400g".
        adapters: of the preset, side by side; a worker of several chips often has one for each.
        km: of fibre between the two.
        usd_per_gbyte: what others charge for the wire.
        kv: how the cache travels; without it the link moves nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    from_pool: Annotated[str, Field(alias="from")]
    to_pool: Annotated[str, Field(alias="to")]
    preset: Name | None = None
    gbytes_per_s: Positive | None = None
    latency_s: Amount | None = None
    per_block_s: Amount | None = None
    usd_per_gbyte: Amount | None = None
    adapters: Count = 1
    km: Amount = 0.0
    kv: Kv | None = None


class FabricEntry(Part):
    """The data-centre network the pools stand in. `leaf_down`: ports of a leaf that face GPUs; half if left out."""

    topology: Name
    leaf_down: Count | None = None


class Tenant(Part):
    name: Name
    key_hash: Annotated[str | None, Field(repr=False)] = None
    weight: Positive = 1.0
    classes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    vendors_denied: tuple[str, ...] = ()
    usd_per_day: Amount | None = None
    tokens_per_min: Count | None = None


class PolicyEntry(BaseModel):
    """The policy; fields not named here are its own options, checked when it is built."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "cost-slo"
    shadow: str | None = None
    share: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0
    otherwise: str | None = None

    @property
    def options(self) -> dict[str, object]:
        return dict(self.model_extra or {})


class TraceEntry(Part):
    """How rows of a trace map to requests: all of one class, or drawn from shares of several."""

    traffic_class: Annotated[str | None, Field(alias="class")] = None
    classes: dict[str, Positive] | None = None
    tenant: str | None = None
    model: str | None = None


class TimeLimits(Part):
    """Bounds of the gateway itself.

    Attributes:
        queue: requests waiting for a decision; more are rejected.
        queue_timeout_s: longest wait for a decision.
        body_bytes: largest request body.
        head_hold_s: how long the response head is held back for the first event of an engine.
        connect_timeout_s: to open a connection to a worker.
        stall_timeout_s: longest silence of a worker in the middle of an answer.
        probe_interval_s: between two looks at a worker.
        attempts: times a request is tried in all.
        kv_lease_s: how long a prefill worker keeps KV for its decode worker, vLLM's `kv_lease_duration`.
    """

    queue: Count = 1000
    queue_timeout_s: Positive = 60.0
    body_bytes: Count = 8 * 1024 * 1024
    head_hold_s: Positive = 10.0
    connect_timeout_s: Positive = 1.0
    stall_timeout_s: Positive = 30.0
    probe_interval_s: Positive = 1.0
    attempts: Count = 2
    kv_lease_s: Positive = 30.0


class Config(Part):
    """A whole fleet file. `limits` is optional and mostly for tests, which shorten the timers.

    Attributes:
        listen, operator: addresses; models, classes: what clients may ask for and what they are promised;
        pools, fabric, links: the fleet and its network; tenants, policy, trace, limits: see their own types.
    """

    listen: Listen = Listen()
    operator: Operator = Operator()
    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1)]
    classes: dict[Name, ClassEntry] = {}
    pools: Annotated[tuple[PoolEntry, ...], Field(min_length=1)]
    fabric: FabricEntry | None = None
    links: tuple[LinkEntry, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    policy: PolicyEntry = PolicyEntry()
    trace: TraceEntry = TraceEntry()
    limits: TimeLimits = TimeLimits()

    @cached_property
    def model_names(self) -> dict[str, str]:
        """Every name a client may use for a model, with the model's own name."""
        own = {entry.name: entry.name for entry in self.models}
        return own | {alias: entry.name for entry in self.models for alias in entry.aliases}

    def resolve_model(self, name: str) -> str | None:
        """The model's own name, None if clients may not ask for it."""
        return self.model_names.get(name)

    def traffic_class(self, name: str = "default") -> ClassEntry | None:
        """What a class promises, None if there is no such class. "default" promises nothing unless configured."""
        return self.classes.get(name, ClassEntry() if name == "default" else None)

    def shape_id(self, model_name: str) -> str:
        """The catalogue id of a configured model."""
        entry = next(entry for entry in self.models if entry.name == model_name)
        return entry.shape or entry.name
