"""The worked example of docs/economics.md, computed."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from devices import catalog
from devices.economics.chip_hour import OwnedChip, Site, chip_hour, chip_hour_usd
from devices.economics.margins import Layer, Markup, sales
from devices.economics.operating_point import OperatingPoint, Promise, Workload, operating_point
from devices.economics.ranking import ranking
from devices.economics.rents import RentKind
from devices.economics.token_cost import profit_usd, token_energy, token_usd
from devices.natures.choice import predictor
from devices.packaged import read
from devices.prices.api_price import Rates
from devices.profile import Precision
from devices.worker import Limits

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "economics.md").read_text().split())
SITE = Site(110, 0.087)
CHIP = OwnedChip(246_391 / 8, 4, 1.47)
REQUEST = Workload(1000, 501)


@dataclass(frozen=True)
class AsMeasured:
    """The three iterations the page supposes."""

    def prefill_s(self, new_tokens: int, cached_tokens: int = 0) -> float:
        return 0.015

    def decode_step_s(self, sequences: int, kv_tokens: float) -> float:
        return 0.020

    def decode_line(self, sequences: int, kv_tokens: float) -> tuple[float, float, float]:
        return self.decode_step_s(sequences, kv_tokens), 0.0, math.inf

    def step_s(self, decodes: int, kv_tokens: float, chunks: list[tuple[int, int]]) -> float:
        return 0.030 if decodes else 0.015


def point() -> OperatingPoint:
    limits = Limits(10**9, 100, False, 1100, 10**6)
    found = operating_point(AsMeasured(), limits, REQUEST, Promise())
    assert isinstance(found, OperatingPoint)
    return found


def test_the_hour_of_the_chip_is_as_the_page_says() -> None:
    hour = chip_hour(CHIP, SITE)
    assert f"| depreciation | {hour.depreciation_usd:.3f} USD an hour |" in PAGE
    assert f"{hour.hosting_usd:.3f} + {hour.power_usd:.3f} USD |" in PAGE
    assert f"| cost of a chip-hour | {hour.usd:.3f} USD |" in PAGE
    own, resold = sales(hour.usd, [Markup(Layer.IAAS, 0.35), Markup(Layer.RESALE, 0.35)])
    assert f"| sold at 35 % margin | {own.price_usd:.3f} USD |" in PAGE
    assert f"| resold at 35 % margin | {resold.price_usd:.3f} USD |" in PAGE
    levied = chip_hour_usd(OwnedChip(CHIP.capex_usd, 4, 1.47, levy=0.25), SITE)
    assert f"| {levied:.3f} USD, {levied / 0.65:.3f} at 35 % margin |" in PAGE


def test_the_operating_point_is_as_the_page_says() -> None:
    found = point()
    assert found.batch == 100
    assert f"= {found.tpot_s * 1000:.0f} ms |" in PAGE
    assert f"0.2 / 0.022 = {found.requests_per_s:.2f} |" in PAGE
    assert f"| worker seconds of an input token | {found.input_s * 1e6:.1f} us |" in PAGE
    assert f"| worker seconds of an output token | {found.output_s * 1e6:.1f} us |" in PAGE


def test_tokens_cost_and_leave_what_the_page_says() -> None:
    found = point()
    cost = token_usd(found, 8 * chip_hour_usd(CHIP, SITE))
    assert f"| {cost.usd_per_m_input:.4f} USD/M input, {cost.usd_per_m_output:.4f} USD/M output |" in PAGE
    assert f"| cost of a request | {cost.request_usd(REQUEST):.6f} USD |" in PAGE
    energy = token_energy(found, 8, CHIP.allin_kw)
    joules = f"{energy.joules_per_input:.3f} J per input token, {energy.joules_per_output:.3f} J per output token"
    assert joules in PAGE
    left = profit_usd(cost.request_usd(REQUEST), Rates(0.10, 0.80), REQUEST)
    assert f"a request leaves | {left:.6f} USD |" in PAGE


def test_as_many_providers_are_listed_as_the_page_says() -> None:
    assert f"list prices of {len(read('prices.yaml')['providers'])} providers" in PAGE


@pytest.mark.parametrize(
    ("reference", "prefill", "decode"),
    [("h100-sxm", (5.5, 8.0), (1.0, 1.6)), ("a100-80g-sxm", (1.5, 3.0), (0.6, 1.05))],
)
def test_h20_needs_many_more_cards_for_prefill_than_for_decode(
    reference: str, prefill: tuple[float, float], decode: tuple[float, float]
) -> None:
    llama = catalog.model("llama-3.1-70b")
    h20, other = (
        predictor(catalog.device(name), llama, 8, Precision.BF16, Precision.FP16) for name in ("h20", reference)
    )
    assert prefill[0] < h20.prefill_s(8192) / other.prefill_s(8192) < prefill[1]
    assert decode[0] < h20.decode_step_s(32, 64_000) / other.decode_step_s(32, 64_000) < decode[1]


@pytest.mark.parametrize("prompt", [1000, 32_000])
def test_long_context_is_not_cheaper_on_tpus_at_published_prices(prompt: int) -> None:
    names = ("tpu-v5e", "tpu-v5p", "tpu-v6e", "h100-sxm", "b200-sxm", "tpu-v7x")
    workload = Workload(prompt, 500)
    devices = [catalog.device(name) for name in names]
    llama, lax = catalog.model("llama-3.1-70b"), Promise(60.0, 0.2)
    by_hour = ranking(devices, llama, workload, lax, RentKind.ON_DEMAND, measured=False, projected=True)
    usd = {offer.device.id: offer.cost.request_usd(workload) for offer in by_hour.offers}
    assert min(usd["tpu-v5e"], usd["tpu-v5p"], usd["tpu-v6e"]) > usd["h100-sxm"]
    by_years = ranking(devices, llama, workload, lax, RentKind.RENTAL, measured=False, projected=True)
    usd = {offer.device.id: offer.cost.request_usd(workload) for offer in by_years.offers}
    assert 0.4 < usd["tpu-v7x"] / usd["b200-sxm"] < 1.0
