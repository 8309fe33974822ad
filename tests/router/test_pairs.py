"""The pair report weighs what the file says, what engines compare, and what hardware somebody made it work on."""

from pathlib import Path

import pytest

from router.config import load
from router.layout import Verdict, layout
from router.schema import Config

REAL = 'workers: ["http://a:1"]'


def loaded(folder: Path, source: str, target: str, kv: str = "", model: str = "llama-3.1-70b") -> Config:
    file = folder / "fleet.yaml"
    file.write_text(
        f"models: [{{name: {model}}}]\npools:\n"
        f"  - {{name: p, model: {model}, {source}}}\n  - {{name: d, model: {model}, {target}}}\n"
        f"links: [{{from: p, to: d, gbytes_per_s: 50, kv: {{connector: nixl{kv}}}}}]\n"
    )
    return load(file)


def verdict(config: Config) -> tuple[Verdict, str]:
    [pair] = [pair for pair in layout(config).pairs if (pair.from_pool, pair.to_pool) == ("p", "d")]
    return pair.verdict, pair.why


def h200(more: str = "simulate: 1", tp: int = 4) -> str:
    return f"device: h200-sxm, tp: {tp}, precision: fp8, {more}"


GAUDI = "device: gaudi3, tp: 8, precision: bf16"
WORDS = "works in vllm-gaudi and is repaired at every vLLM release (17 changes for 0.22.1rc1)"


def test_a_fragile_pair_is_used_only_where_the_link_accepts_it(tmp_path: Path) -> None:
    refused = loaded(tmp_path, h200(REAL), f"{GAUDI}, workers: ['http://b:1'], allow_projected: true")
    risk = "accept_fragile: true in the link's kv takes the risk"
    assert verdict(refused) == (Verdict.REPREFILL, f"{WORDS}; {risk}")
    assert layout(refused).links == {}
    accepted = loaded(
        tmp_path, h200(REAL), f"{GAUDI}, workers: ['http://b:1'], allow_projected: true", ", accept_fragile: true"
    )
    assert verdict(accepted) == (Verdict.FRAGILE, f"{WORDS}; accepted by this link")
    assert set(layout(accepted).links) == {("p", "d")}


def test_a_fragile_pair_may_be_simulated(tmp_path: Path) -> None:
    config = loaded(tmp_path, h200(), f"{GAUDI}, simulate: 1")
    assert verdict(config) == (Verdict.HYPOTHETICAL, f"{WORDS}; both pools are simulated")


def test_one_simulated_side_is_not_enough_to_pretend(tmp_path: Path) -> None:
    config = loaded(tmp_path, h200(REAL), "device: tpu-v6e, tp: 8, precision: bf16, simulate: 1")
    assert verdict(config) == (Verdict.REPREFILL, "TPUs take caches from TPUs only; only simulated pools may pretend")


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        (
            h200('simulate: 1, engine_version: "0.22.1"'),
            h200('simulate: 1, engine_version: "0.24.0"'),
            "p runs version 0.22.1, d runs version 0.24.0",
        ),
        (
            h200("simulate: 1, attention_backend: FLASH_ATTN"),
            h200("simulate: 1, attention_backend: FLASHINFER"),
            "p attends with FLASH_ATTN, d attends with FLASHINFER",
        ),
        (
            h200("simulate: 1, block_size: 64"),
            h200(),
            "p has blocks of 64 tokens, d of 16; only smaller blocks on the prefill side can be remapped",
        ),
    ],
)
def test_what_engines_would_refuse_not_even_a_simulation_pretends(
    tmp_path: Path, source: str, target: str, why: str
) -> None:
    assert verdict(loaded(tmp_path, source, target)) == (Verdict.REPREFILL, why)


def test_smaller_blocks_on_the_prefill_side_hand_over_and_move_as_they_are(tmp_path: Path) -> None:
    config = loaded(tmp_path, h200(), h200("simulate: 1, block_size: 64"))
    assert verdict(config)[0] is Verdict.WORKS
    built = layout(config)
    assert built.links["p", "d"].block_size == 16
    assert [worker.pool.limits.block_size for worker in built.workers] == [16, 64]


def test_unequal_splits_of_a_dense_model_hand_over(tmp_path: Path) -> None:
    assert verdict(loaded(tmp_path, h200(tp=8), h200(tp=2)))[0] is Verdict.WORKS


def test_a_pair_of_unlike_chips_is_told_what_engines_will_still_compare(tmp_path: Path) -> None:
    stated = 'engine_version: "0.24.0", attention_backend: FLASH_ATTN'
    h100 = "device: h100-sxm, tp: 4, precision: fp8, simulate: 1"
    plain = "routine between NVIDIA GPUs"
    assert verdict(loaded(tmp_path, h200(f"simulate: 1, {stated}"), f"{h100}, {stated}")) == (Verdict.WORKS, plain)
    half = loaded(tmp_path, h200('simulate: 1, engine_version: "1"'), f'{h100}, engine_version: "1"')
    assert verdict(half)[1] == f"{plain}; their engines will also compare attention_backend, not stated here"
    assert verdict(loaded(tmp_path, h200(), h200()))[1] == plain


def test_a_verdict_on_hardware_says_who_found_it(tmp_path: Path) -> None:
    pairs = layout(loaded(tmp_path, h200(), h200())).pairs
    sources = {(pair.from_pool, pair.to_pool): pair.source for pair in pairs}
    assert sources["p", "d"] == "vllm-project/vllm:docs/features/nixl_connector_compatibility.md"
    assert sources["d", "p"] == ""
