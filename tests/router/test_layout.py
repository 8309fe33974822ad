"""Pools of a fleet file become workers and links, and every pair of pools gets a verdict with its reason."""

from pathlib import Path

import pytest

from devices.profile import Precision
from devices.worker import BillingKind, Phase
from router.config import ConfigError, load
from router.layout import Verdict, layout
from router.schema import Config

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
MODEL = "model: llama-3.1-70b, precision: fp8"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def loaded(file: Path, *pools: str, links: str = "[]") -> Config:
    entries = "\n".join(f"  - {{{pool}}}" for pool in pools)
    models = "[{name: llama-3.1-70b}, {name: llama-3.1-8b}, {name: llama-2-70b}]"
    file.write_text(f"models: {models}\npools:\n{entries}\nlinks: {links}\n")
    return load(file)


def gpu(name: str, more: str = "simulate: 1", device: str = "h200-sxm", model: str = MODEL) -> str:
    return f"name: {name}, device: {device}, tp: 4, {model}, {more}"


def verdict(config: Config, source: str = "p", target: str = "d") -> tuple[Verdict, str]:
    [pair] = [pair for pair in layout(config).pairs if (pair.from_pool, pair.to_pool) == (source, target)]
    return pair.verdict, pair.why


KV = "kv: {connector: nixl}"


def link(kv: str = KV) -> str:
    return f"[{{from: p, to: d, gbytes_per_s: 50, latency_s: 0.0005, per_block_s: 0.000002, {kv}}}]"


def test_simulated_workers_are_numbered_and_take_the_addresses_they_are_given(fleet: Path) -> None:
    config = loaded(fleet, gpu("a", "simulate: 2"))
    assert [(worker.name, worker.url) for worker in layout(config).workers] == [("a-0", ""), ("a-1", "")]
    given = layout(config, {"a": ["http://127.0.0.1:1", "http://127.0.0.1:2"]})
    assert [worker.url for worker in given.workers] == ["http://127.0.0.1:1", "http://127.0.0.1:2"]


def test_listed_workers_keep_their_order_and_lose_a_final_slash(fleet: Path) -> None:
    config = loaded(fleet, gpu("a", 'workers: ["http://b:2/", "http://a:1"]'))
    assert [worker.url for worker in layout(config).workers] == ["http://b:2", "http://a:1"]


def test_a_dns_name_gives_one_worker_for_each_address(fleet: Path) -> None:
    config = loaded(fleet, gpu("a", "discover: {dns: 127.0.0.1, port: 8000}"))
    assert [worker.url for worker in layout(config).workers] == ["http://127.0.0.1:8000"]
    ipv6 = loaded(fleet, gpu("a", 'discover: {dns: "::1", port: 8000, scheme: https}'))
    assert [worker.url for worker in layout(ipv6).workers] == ["https://[::1]:8000"]


def test_a_name_that_does_not_resolve_is_told_in_one_line(fleet: Path) -> None:
    config = loaded(fleet, gpu("a", "discover: {dns: nothing.invalid, port: 8000}"))
    with pytest.raises(ConfigError, match=r"^cannot resolve 'nothing\.invalid': .+$") as caught:
        layout(config)
    assert caught.value.loc == ("pools", 0, "discover", "dns")


@pytest.mark.parametrize("name", ["a..b", "a" * 70])
def test_a_name_that_can_be_none_is_told_in_one_line(fleet: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no host name"):
        layout(loaded(fleet, gpu("a", f"discover: {{dns: {name}, port: 8000}}")))


def test_a_pool_knows_what_it_is_made_of(fleet: Path) -> None:
    [worker] = layout(loaded(fleet, gpu("a", "simulate: 1, phases: [decode], site: east, max_seqs: 9"))).workers
    pool = worker.pool
    assert (pool.name, pool.model, pool.engine, pool.site, pool.chips) == ("a", "llama-3.1-70b", "vllm", "east", 4)
    assert (pool.precision, pool.kv_precision, pool.handover) == (Precision.FP8, Precision.FP16, None)
    assert pool.phases == {Phase.DECODE}
    assert pool.device is not None
    assert pool.device.id == "h200-sxm"
    assert pool.shape is not None
    assert pool.shape.id == "llama-3.1-70b"
    assert pool.limits.max_seqs == 9
    assert pool.limits.kv_tokens == 1_333_760


def test_the_engines_token_budget_reaches_limits_and_predictor(fleet: Path) -> None:
    [small] = layout(loaded(fleet, gpu("a", "simulate: 1, max_batched_tokens: 512"))).workers
    [plain] = layout(loaded(fleet, gpu("a"))).workers
    assert small.pool.limits.max_batched_tokens == 512
    assert small.pool.predictor.prefill_s(4096) > plain.pool.predictor.prefill_s(4096)


def test_weights_are_in_the_models_own_precision_unless_told_otherwise(fleet: Path) -> None:
    [worker] = layout(loaded(fleet, gpu("a", model="model: llama-3.1-70b"))).workers
    assert worker.pool.precision is Precision.BF16


def test_rent_comes_from_the_file_or_else_from_the_catalogue(fleet: Path) -> None:
    stated = "simulate: 1, billing: {kind: committed, usd_per_chip_hour: 0.9}"
    config = loaded(fleet, gpu("a", stated), gpu("b"), gpu("c", "simulate: 1, billing: {kind: spot}"))
    bills = [worker.pool.billing for worker in layout(config).workers]
    assert [(bill.kind, bill.usd_per_chip_hour) for bill in bills] == [
        (BillingKind.COMMITTED, 0.9),
        (BillingKind.ON_DEMAND, 1.60),
        (BillingKind.SPOT, 1.60),
    ]


def test_an_api_is_metered_at_its_list_price_and_hides_its_hardware(fleet: Path) -> None:
    api = "name: cloud, api: {provider: cerebras, ttft_s: 0.3, tpot_s: 0.002, concurrency: 5}, model: llama-3.1-70b"
    [worker] = layout(loaded(fleet, f'{api}, workers: ["https://api.cerebras.ai"]')).workers
    pool = worker.pool
    assert pool.engine == "openai"
    assert pool.billing.kind is BillingKind.METERED
    assert pool.billing.price is not None
    assert pool.billing.price.usd(1_000_000, 1_000_000) == pytest.approx(1.2)
    assert (pool.device, pool.shape, pool.usd_per_s) == (None, None, 0)
    assert (pool.predictor.prefill_s(9999), pool.predictor.decode_step_s(3, 0)) == (0.3, 0.002)
    assert pool.limits.max_seqs == 5


def test_an_api_is_timed_as_others_measured_it_unless_the_file_says_otherwise(fleet: Path) -> None:
    def timed(provider: str, more: str = "") -> tuple[float, float]:
        price = "price: {usd_per_m_input: 1, usd_per_m_output: 1}"
        api = f"name: cloud, api: {{provider: {provider}, {price}{more}}}, model: llama-2-70b"
        [worker] = layout(loaded(fleet, f"{api}, simulate: 1")).workers
        return worker.pool.predictor.prefill_s(100), worker.pool.predictor.decode_step_s(1, 0)

    assert timed("anyscale") == (0.2128, 0.01456)
    assert timed("anyscale", ", tpot_s: 0.02") == (0.2128, 0.02)
    assert timed("nobody-measured") == (0.222, 0.0053)


def test_an_apis_price_may_be_given(fleet: Path) -> None:
    price = "{usd_per_m_input: 0.59, usd_per_m_output: 0.79, usd_per_m_cached_input: 0.1}"
    api = f"name: cloud, api: {{provider: groq, price: {price}}}, model: llama-3.1-70b"
    [worker] = layout(loaded(fleet, f"{api}, simulate: 1")).workers
    assert worker.pool.billing.price is not None
    assert worker.pool.billing.price.usd(1000, 500) == pytest.approx(0.000985)


# Which pairs can hand KV over.


def test_gpus_of_one_vendor_hand_over_where_a_link_says_how(fleet: Path) -> None:
    config = loaded(fleet, gpu("p", device="h100-sxm"), gpu("d"), links=link("kv: {connector: nixl, block_size: 64}"))
    assert verdict(config) == (
        Verdict.WORKS,
        "routine between NVIDIA GPUs; "
        "their engines will also compare engine_version and attention_backend, not stated here",
    )
    built = layout(config)
    [path] = built.links.values()
    assert (path.bytes_per_s, path.latency_s, path.per_block_s, path.block_size) == (50e9, 0.0005, 2e-6, 64)
    assert {worker.pool.handover for worker in built.workers} == {"nixl"}


def test_every_ordered_pair_is_reported_once(fleet: Path) -> None:
    built = layout(loaded(fleet, gpu("p"), gpu("d"), gpu("x"), links=link()))
    assert len({(pair.from_pool, pair.to_pool) for pair in built.pairs}) == len(built.pairs) == 6
    assert set(built.links) == {("p", "d")}
    assert [worker.pool.handover for worker in built.workers] == ["nixl", "nixl", None]


def test_workers_of_one_pool_may_hand_over_among_themselves(fleet: Path) -> None:
    config = loaded(
        fleet, gpu("p", "simulate: 2"), links="[{from: p, to: p, gbytes_per_s: 450, kv: {connector: nixl}}]"
    )
    assert verdict(config, "p", "p")[0] is Verdict.WORKS


@pytest.mark.parametrize(
    ("source", "target", "kv", "why"),
    [
        (gpu("p"), gpu("d", "simulate: 1, phases: [prefill]"), KV, "d does not decode"),
        (gpu("p", "simulate: 1, phases: [decode]"), gpu("d"), KV, "p does not prefill"),
        (gpu("p"), gpu("d"), "kv: null", "the link has no kv: its engines are not set up to hand over"),
        (gpu("p"), gpu("d", "simulate: 1, engine: openai"), KV, "the engine of d, openai, does not speak nixl"),
        (gpu("p"), gpu("d"), "kv: {connector: mooncake}", "the engine of p, vllm, does not speak mooncake"),
        (
            gpu("p"),
            gpu("d", "simulate: 1, kv_precision: fp8"),
            KV,
            "p keeps its cache in fp16, d keeps its cache in fp8",
        ),
        (
            gpu("p", "simulate: 1, kv_precision: fp16"),
            gpu("d", "simulate: 1, kv_precision: fp16"),
            "kv: {connector: nixl, dtype: fp8}",
            "the link carries fp8, both pools keep their cache in fp16",
        ),
        (gpu("p"), gpu("d", model="model: llama-3.1-8b"), KV, "p serves llama-3.1-70b, d serves llama-3.1-8b"),
        (
            gpu("p"),
            "name: d, api: {provider: cerebras}, model: llama-3.1-70b, simulate: 1",
            KV,
            "d is an API and keeps its cache to itself",
        ),
        (
            gpu("p"),
            gpu("d", 'workers: ["http://a:1"]', device="mi355x"),
            KV,
            "Moreh sells it inside its own product; no open engine does it; only simulated pools may pretend",
        ),
    ],
)
def test_a_pair_that_cannot_hand_over_says_why_and_has_no_link(
    fleet: Path, source: str, target: str, kv: str, why: str
) -> None:
    config = loaded(fleet, source, target, links=link(kv))
    assert verdict(config) == (Verdict.REPREFILL, why)
    assert layout(config).links == {}


def test_without_a_link_nothing_is_compatible(fleet: Path) -> None:
    assert verdict(loaded(fleet, gpu("p"), gpu("d"))) == (Verdict.REPREFILL, "no link from p to d is configured")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (gpu("d", device="mi355x"), "Moreh sells it inside its own product; no open engine does it"),
        (
            "name: d, device: groq-lpu-v1, chips: 576, model: llama-3.1-70b, precision: int8, simulate: 1",
            "nobody is known to hand KV over from h200-sxm to groq-lpu-v1 with nixl",
        ),
        (
            "name: d, device: tpu-v6e, tp: 8, model: llama-3.1-70b, precision: bf16, simulate: 1",
            "TPUs take caches from TPUs only",
        ),
    ],
)
def test_pairs_nobody_ships_may_be_simulated(fleet: Path, target: str, why: str) -> None:
    config = loaded(fleet, gpu("p"), target, links=link())
    assert verdict(config) == (Verdict.HYPOTHETICAL, f"{why}; both pools are simulated")
    assert set(layout(config).links) == {("p", "d")}


def test_a_cache_is_as_wide_as_the_link_says_unless_the_pool_says_otherwise(fleet: Path) -> None:
    built = layout(loaded(fleet, gpu("p"), gpu("d"), gpu("x"), links=link("kv: {connector: nixl, dtype: fp8}")))
    assert [worker.pool.kv_precision for worker in built.workers] == [Precision.FP8, Precision.FP8, Precision.FP16]
    assert built.workers[0].pool.limits.kv_tokens > built.workers[2].pool.limits.kv_tokens


def test_kv_of_an_8192_token_prompt_takes_55_2_ms_over_an_examples_link() -> None:
    built = layout(load(EXAMPLES / "hetero.yaml"))
    [prefill] = [worker for worker in built.workers if worker.pool.name == "h200-prefill"]
    assert prefill.pool.shape is not None
    kv_bytes = prefill.pool.shape.kv_bytes(8192, prefill.pool.kv_precision)
    assert built.links["h200-prefill", "h200"].transfer_s(8192, kv_bytes) == pytest.approx(0.0552, abs=5e-5)


def test_the_heterogeneous_example_has_three_natures_and_three_ways_to_split() -> None:
    built = layout(load(EXAMPLES / "hetero.yaml"))
    assert {worker.pool.device.nature.value for worker in built.workers if worker.pool.device} == {
        "hbm",
        "sram",
        "padded",
    }
    splits = [pair for pair in built.pairs if pair.verdict is not Verdict.REPREFILL]
    assert [(pair.from_pool, pair.to_pool, pair.verdict, pair.why) for pair in splits] == [
        ("h200-prefill", "h200", Verdict.WORKS, "routine between NVIDIA GPUs"),
        (
            "h200-prefill",
            "mi355x",
            Verdict.HYPOTHETICAL,
            "Moreh sells it inside its own product; no open engine does it; both pools are simulated",
        ),
        (
            "h200-prefill",
            "lpu",
            Verdict.HYPOTHETICAL,
            "nobody is known to hand KV over from h200-sxm to groq-lpu-v1 with nixl; both pools are simulated",
        ),
    ]
