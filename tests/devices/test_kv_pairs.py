"""Nothing is compatible unless somebody made it so, and engines' own rules come first."""

from dataclasses import replace

import pytest

from devices import catalog
from devices.catalog import device
from devices.fabric.kv_pairs import Side, State, finding, rows
from devices.profile import ModelProfile, Precision

LLAMA = catalog.model("llama-3.1-70b")
LATENT = catalog.model("deepseek-v3")


def side(name: str, device_id: str = "h200-sxm", **fields: object) -> Side:
    return replace(Side(name, device(device_id), "vllm", Precision.FP16), **fields)  # type: ignore[arg-type]


def found(prefill: Side, decode: Side, model: ModelProfile = LLAMA, connector: str = "nixl") -> tuple[State, str]:
    known = finding(prefill, decode, model, connector)
    return known.state, known.why


@pytest.mark.parametrize(
    ("source", "target", "connector", "state"),
    [
        ("h200-sxm", "h200-sxm", "nixl", State.WORKS),
        ("h100-sxm", "b200-sxm", "mooncake", State.WORKS),
        ("mi300x", "mi355x", "nixl", State.WORKS),
        ("gaudi3", "gaudi3", "nixl", State.WORKS),
        ("ascend-910c", "ascend-910b", "mooncake", State.WORKS),
        ("h100-sxm", "gaudi3", "nixl", State.FRAGILE),
        ("gaudi3", "h100-sxm", "nixl", State.FRAGILE),
        ("ascend-910b", "h20", "mooncake", State.FRAGILE),
        ("trainium2", "h100-sxm", "nixl", State.FRAGILE),
        ("arc-pro-b60", "xeon-6980p", "nixl", State.FRAGILE),
        ("tpu-v6e", "tpu-v6e", "nixl", State.FRAGILE),
        ("mi300x", "h100-sxm", "nixl", State.VENDOR_INTERNAL),
        ("h200-sxm", "mi355x", "nixl", State.VENDOR_INTERNAL),
        ("trainium2", "cerebras-wse-3", "nixl", State.VENDOR_INTERNAL),
        ("rubin-vr200", "groq-3-lpu", "nixl", State.VENDOR_INTERNAL),
        ("tpu-v6e", "h100-sxm", "nixl", State.NOT_FOUND),
        ("h100-sxm", "tpu-v6e", "nixl", State.NOT_FOUND),
        ("h200-sxm", "groq-lpu-v1", "nixl", State.NOT_FOUND),
        ("groq-lpu-v1", "groq-lpu-v1", "nixl", State.NOT_FOUND),
        ("ascend-910b", "h20", "nixl", State.NOT_FOUND),
        ("h20", "ascend-910b", "mooncake", State.NOT_FOUND),
        ("mtt-s5000", "mtt-s5000", "nixl", State.NOT_FOUND),
        ("h100-sxm", "h100-sxm", "smoke-signals", State.NOT_FOUND),
    ],
)
def test_hardware_pairs_are_as_compatible_as_somebody_made_them(
    source: str, target: str, connector: str, state: State
) -> None:
    known = finding(side("p", source), side("d", target), LLAMA, connector)
    assert known.state is state
    assert known.why
    assert bool(known.source) == bool(known.date)
    assert known.source or known.why == f"nobody is known to hand KV over from {source} to {target} with {connector}"


@pytest.mark.parametrize(
    ("prefill", "decode", "why"),
    [
        ({"version": "0.22.1"}, {"version": "0.24.0"}, "p runs version 0.22.1, d runs version 0.24.0"),
        (
            {"attention": "FLASH_ATTN"},
            {"attention": "FLASHINFER"},
            "p attends with FLASH_ATTN, d attends with FLASHINFER",
        ),
        ({}, {"kv_precision": Precision.FP8}, "p keeps its cache in fp16, d keeps its cache in fp8"),
        (
            {"block_size": 64},
            {"block_size": 16},
            "p has blocks of 64 tokens, d of 16; only smaller blocks on the prefill side can be remapped",
        ),
        ({}, {"engine": "sglang"}, "p runs vllm, d sglang; no two engines understand each other's hand-over"),
        ({"engine": "x"}, {"engine": "x"}, "no rules of a hand-over are known of x"),
    ],
)
def test_engines_refuse_what_their_handshake_compares(
    prefill: dict[str, object], decode: dict[str, object], why: str
) -> None:
    assert found(side("p", **prefill), side("d", **decode)) == (State.REFUSED, why)


@pytest.mark.parametrize(
    ("prefill", "decode"),
    [
        ({"version": "0.24.0"}, {}),
        ({}, {"attention": "FLASHINFER"}),
        ({"version": "0.24.0", "attention": "A"}, {"version": "0.24.0", "attention": "A"}),
        ({"block_size": 16}, {"block_size": 64}),
        ({"tp": 8}, {"tp": 2}),
        ({"tp": 2}, {"tp": 8}),
    ],
)
def test_what_is_unstated_or_may_differ_is_not_refused(prefill: dict[str, object], decode: dict[str, object]) -> None:
    for model in (LLAMA, LATENT):
        assert found(side("p", **prefill), side("d", **decode), model)[0] is State.WORKS


def test_models_with_states_need_equal_splits_and_blocks() -> None:
    hybrid = replace(LLAMA, id="hybrid", state_bytes_per_sequence=189_000_000)
    assert found(side("p", tp=4), side("d", tp=4), hybrid)[0] is State.WORKS
    assert found(side("p", tp=4), side("d", tp=8), hybrid) == (
        State.REFUSED,
        "p is split over 4 chips, d over 8; the states of hybrid need equal splits",
    )
    assert found(side("p", block_size=16), side("d", block_size=32), hybrid) == (
        State.REFUSED,
        "p has blocks of 16 tokens, d of 32; the layers of hybrid keep several kinds of cache and need equal blocks",
    )


def test_models_with_windows_need_equal_blocks_and_not_equal_splits() -> None:
    windowed = replace(LLAMA, id="windowed", window_tokens=128, layers_windowed=40)
    assert found(side("p", block_size=16), side("d", block_size=32), windowed)[0] is State.REFUSED
    assert found(side("p", tp=4), side("d", tp=8), windowed)[0] is State.WORKS


def test_every_row_says_who_found_it_and_when() -> None:
    assert len(rows()) >= 18
    for row in rows():
        assert row.finding.source, row
        assert row.finding.date.startswith("2026"), row
        assert row.finding.state is not State.REFUSED
        assert (row.engine == "") == (row.connectors == ()), row


def test_no_row_is_hidden_by_the_ones_before_it() -> None:
    """Each row is the answer for some pair of devices of the catalogue, or is about hardware not in it."""
    devices = [device(name) for name in catalog.device_ids()]
    answers = set()
    for row in rows():
        connector = row.connectors[0] if row.connectors else "nixl"
        for source in filter(row.source_hardware.fits, devices):
            for target in filter(row.target_hardware.fits, devices):
                p, d = (Side("x", one, row.engine or "vllm", Precision.FP16) for one in (source, target))
                answers.add(id(next(other for other in rows() if other.fits(p, d, connector))))
    hidden = [row for row in rows() if id(row) not in answers]
    assert {row.target_hardware.vendor for row in hidden} <= {"qualcomm"}
