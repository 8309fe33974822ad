"""What a row of each published format means, with names resolved and known faults of the sources put right."""

from __future__ import annotations

import re
from math import isqrt

from devices import catalog
from devices.calibration.measured_cells import CellError, Row
from devices.fits.measurements import (
    ApiCall,
    CollectiveTime,
    EndToEnd,
    EngineRun,
    Iteration,
    LayerTime,
    LoadSample,
    Published,
    RequestTimes,
    ServerRun,
    Setup,
    Side,
    Split,
)
from devices.profile import ModelProfile, Precision

DEFAULT_PRECISIONS = ("", "aic-default")
"""A source that leaves the precision to the engine: the model's own."""
PRECISIONS = {
    "nvfp4": "fp4",
    "mxfp4": "fp4",
    "fp8_block": "fp8",
    "int4_wo": "int4",
    "bfloat16": "bf16",
    "float16": "fp16",
}
"""Other names of the same widths."""
_ENGINE = re.compile(r"(?P<name>[a-z][a-z-]*[a-z])(?:-(?P<version>\d[^(]*))?(?:\((?P<note>.*)\))?$")
_PARALLEL_IN_ID = re.compile(r"_tp(\d+)(?:_0)?_ep(\d+)")
_NODE_CHIPS = 8


def iteration(row: Row) -> Iteration:
    """DistServe, Helix, LLMServingSim, splitwise-sim and aiconfigurator, brought into one table."""
    phase, batch = row.text("phase"), row.count("batch")
    if phase not in ("prefill", "decode", "mixed"):
        raise CellError(f"phase: '{phase}' is none of prefill, decode, mixed")
    engine, version = _engine(row.text("engine"))
    tokens, context = row.count("tokens"), max(row.number("context"), 0.0)  # -1: not recorded
    prefill = phase == "prefill"
    return Iteration(
        setup=_setup(row, "device", "model", engine, version, row.text("precision")),
        split=Split(row.count("tp")),
        decodes=0 if prefill else batch,
        kv_tokens=0.0 if prefill else batch * context,
        prompts={"prefill": batch, "decode": 0, "mixed": 1}[phase],
        new_tokens=0 if phase == "decode" else tokens,
        context_tokens=int(context) if prefill else 0,
        seconds=row.milliseconds("ms"),
        kind=row.text("kind"),
        source=row.text("source"),
    )


def end_to_end(row: Row) -> EndToEnd:
    """InferenceX samples as aiconfigurator keeps them."""
    mode = row.text("mode")
    if mode not in ("agg", "disagg"):
        raise CellError(f"mode: '{mode}' is neither agg nor disagg")
    setup = _setup(row, "system", "model_path", row.text("backend"), row.text("backend_version"), row.text("precision"))
    if mode == "agg":
        prefill, decode = None, _together(row, setup)
        concurrency = row.positive("concurrency" if row.has("concurrency") else "batch_size")
    else:
        prefill, decode = _side(row, "prefill"), _side(row, "decode")
        concurrency = row.positive("concurrency") if row.has("concurrency") else _slots(row, decode)
    return EndToEnd(
        id=row.text("id"),
        setup=setup,
        prompt_tokens=row.count("isl"),
        output_tokens=row.count("osl"),
        concurrency=concurrency,
        prefill=prefill,
        decode=decode,
        ttft_s=row.milliseconds("silicon_ttft_ms"),
        tpot_s=row.milliseconds("silicon_tpot_ms"),
        source=row.text("origin"),
    )


def _together(row: Row, setup: Setup) -> Side:
    """One pool for both phases.

    Two snapshots of the set multiply tp by ep where experts are sharded, so 8 chips with ep 8 read "tp 64". The id
    keeps the real count; where it does not, a square beyond one node gives the fault away. More chips than a node in an
    aggregated row of a rack are the whole deployment, prefill workers included: how it is divided is not said.
    """
    tp, replicas = max(row.count("tp_size", 1), 1), max(row.count("attention_dp_size", 1), 1)
    experts = max(row.count("moe_tp_size", 1), 1) * max(row.count("moe_ep_size", 1), 1)
    chips, ep = tp * replicas, row.count("moe_ep_size", 1) > 1
    if said := _PARALLEL_IN_ID.search(row.text("id")):
        chips = int(said[1])
    elif chips > _NODE_CHIPS and experts == chips and isqrt(chips) ** 2 == chips:
        chips = isqrt(chips)
    split = Split(chips, chips if replicas > 1 and tp == 1 else 1, ep and setup.model.experts > 0)
    return Side(0 if chips > _NODE_CHIPS else 1, split)


def _side(row: Row, phase: str) -> Side:
    tp, replicas = max(row.count(f"{phase}_tp_size", 1), 1), max(row.count(f"{phase}_attention_dp_size", 1), 1)
    split = Split(tp * replicas, replicas, row.count(f"{phase}_moe_ep_size", 1) > 1)
    return Side(row.count(f"{phase}_num_workers", 0), split)


def _slots(row: Row, decode: Side) -> float:
    """Sequences the decode workers hold: what the run was configured for where its concurrency is not recorded."""
    return row.positive("decode_batch_size") * decode.workers * decode.split.replicas


def request_times(row: Row) -> RequestTimes:
    """LLMServingSim's runs of vLLM."""
    return RequestTimes(
        run=row.text("run"),
        id=row.text("request_id"),
        arrival_s=row.number("arrival_s"),
        prompt_tokens=row.count("input_tokens"),
        output_tokens=row.count("output_tokens"),
        first_s=row.number("first_token_s"),
        last_s=row.number("last_token_s"),
    )


def engine_run(row: Row) -> EngineRun:
    """Limits of LLMServingSim's runs; a run is named "device/model"."""
    device, _, model = row.text("run").partition("/")
    return EngineRun(
        run=row.text("run"),
        device=catalog.device(device),
        model=catalog.model(model),
        chips=row.count("tp"),
        max_seqs=row.count("max_num_seqs"),
        max_batched_tokens=row.count("max_num_batched_tokens"),
        kv_tokens=row.count("num_kv_tokens") if row.has("num_kv_tokens") else None,
        version=row.text("vllm"),
    )


def server_run(row: Row) -> ServerRun:
    """MLPerf; a system of several kinds of device keeps its name and no device."""
    system = row.text("system")
    try:
        parts = catalog.system(system)
    except catalog.UnknownId:
        parts = ()
    return ServerRun(
        system=system,
        submitter=row.text("submitter"),
        round=row.text("round"),
        division=row.text("division"),
        benchmark=row.text("benchmark"),
        scenario=row.text("scenario"),
        device=catalog.device(parts[0][0]) if len(parts) == 1 else None,
        chips=sum(chips for _, chips in parts),
        valid=row.text("valid") == "VALID",
        requests_per_s=row.number("samples_s", 0.0),
        output_tokens_per_s=row.number("tok_s", 0.0),
        ttft_s=row.milliseconds_or_none("ttft_mean_ms"),
        tpot_s=row.milliseconds_or_none("tpot_mean_ms"),
        source=row.text("source"),
    )


def api_call(row: Row) -> ApiCall:
    """LLMPerf's raw calls."""
    return ApiCall(
        provider=row.text("provider"),
        model=row.text("model"),
        prompt_tokens=row.count("input_tokens"),
        output_tokens=row.count("output_tokens"),
        ttft_s=row.milliseconds("ttft_ms"),
        tpot_s=row.milliseconds("itl_ms"),
    )


def layer_time(row: Row) -> LayerTime:
    """Vidur's operator medians, summed over a layer."""
    setup = _setup(row, "device", "model", "vidur", "", "fp16")
    return LayerTime(setup, Split(row.count("tp")), row.count("tokens"), row.milliseconds("ms_layer_nonattn"))


def collective_time(row: Row) -> CollectiveTime:
    """Vidur's collectives."""
    return CollectiveTime(
        fabric=row.text("fabric"),
        collective=row.text("collective"),
        ways=row.count("num_workers"),
        per_node=row.count("devices_per_node"),
        size=row.count("size"),
        seconds=row.milliseconds("ms"),
    )


def published(row: Row) -> Published:
    """Figures copied from vendors' recipes."""
    return Published(
        device=catalog.device(row.text("device")),
        model=row.text("model"),
        chips=row.text("chips"),
        prompt_tokens=row.count("isl"),
        output_tokens=row.count("osl"),
        metric=row.text("metric"),
        value=row.positive("value"),
        source=row.text("source"),
    )


def load_sample(row: Row) -> LoadSample:
    """One second of an engine's own log."""
    return LoadSample(row.number("t"), row.count("running"), row.count("waiting"), row.number("kv_cache_pct") / 100)


def _setup(row: Row, device: str, model: str, engine: str, version: str, precision: str) -> Setup:
    shape = catalog.model(row.text(model))
    return Setup(catalog.device(row.text(device)), shape, engine, version, _precision(precision, shape))


def _precision(name: str, model: ModelProfile) -> Precision:
    if name in DEFAULT_PRECISIONS:
        return model.native_precision
    try:
        return Precision(PRECISIONS.get(name, name))
    except ValueError:
        raise CellError(f"precision: '{name}' is none of {', '.join(p.value for p in Precision)}") from None


def _engine(text: str) -> tuple[str, str]:
    """Name and version of "vllm-0.19(llmservingsim)"; the source in brackets belongs to the version."""
    found = _ENGINE.match(text)
    if found is None:
        raise CellError(f"engine: '{text}' is not a name, a version after '-' and a source in brackets")
    return found["name"], " ".join(part for part in (found["version"], found["note"]) if part)
