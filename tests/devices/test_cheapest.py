from dataclasses import replace

import pytest

from devices import catalog
from devices.economics.cheapest import Basis, NoOffer, Offer, cheapest, chip_counts, configurations, formats
from devices.economics.measured_points import correction, measured_points
from devices.economics.operating_point import OperatingPoint, Promise, Workload, operating_point
from devices.economics.ranking import Ranking, ranking
from devices.economics.rents import Rent, RentKind
from devices.economics.token_cost import token_usd
from devices.feasibility import Infeasible, limits
from devices.natures.choice import predictor
from devices.profile import Precision

LLAMA, R1, OSS = catalog.model("llama-3.1-70b"), catalog.model("deepseek-v3"), catalog.model("gpt-oss-120b")
H200, B200 = catalog.device("h200-sxm"), catalog.device("b200-sxm")
CHAT = Workload(1000, 500)
LOOSE, TIGHT = Promise(2.0, 0.2), Promise(2.0, 0.015)
RENT = Rent(1.60, "rental")
NAMES = ("h200-sxm", "b200-sxm", "b300-sxm", "gb200-nvl72", "gb300-nvl72", "mi355x")


def made(device_id: str = "h200-sxm", promise: Promise = LOOSE, min_bits: int = 4) -> Offer:
    offer = cheapest(catalog.device(device_id), LLAMA, CHAT, promise, RENT, min_bits)
    assert isinstance(offer, Offer)
    return offer


def ranked(model_id: str, promise: Promise, workload: Workload, measured: bool = True) -> Ranking:
    devices = [catalog.device(name) for name in NAMES]
    return ranking(devices, catalog.model(model_id), workload, promise, measured=measured)


def test_no_other_configuration_is_cheaper() -> None:
    best = made()
    for other in configurations(H200, LLAMA, 4):
        try:
            fits = limits(H200, LLAMA, other.chips, other.precision, Precision.FP16)
        except Infeasible:
            continue
        paced = predictor(H200, LLAMA, other.chips, other.precision, Precision.FP16)
        point = operating_point(paced, fits, CHAT, LOOSE)
        if isinstance(point, OperatingPoint):
            cost = token_usd(point, RENT.usd_per_chip_hour * other.chips)
            assert cost.request_usd(CHAT) >= best.cost.request_usd(CHAT)


def test_a_tighter_promise_costs_more_and_is_kept_by_more_chips() -> None:
    loose, tight = made(), made(promise=TIGHT)
    assert tight.cost.request_usd(CHAT) > loose.cost.request_usd(CHAT)
    assert tight.configuration.chips > loose.configuration.chips
    assert tight.point.tpot_s <= 0.015


def test_a_class_that_wants_8_bits_is_not_served_in_4() -> None:
    assert made("b200-sxm").configuration.precision is Precision.FP4
    assert made("b200-sxm", min_bits=8).configuration.precision.bits == 8
    assert made("b200-sxm", min_bits=16).configuration.precision is Precision.BF16


def test_only_formats_the_chip_computes_in_or_the_model_came_in_are_tried() -> None:
    assert {tried.precision for tried in configurations(H200, LLAMA, 4)} == {
        Precision.BF16,
        Precision.FP8,
        Precision.INT8,
    }
    assert Precision.FP4 in {tried.precision for tried in configurations(H200, OSS, 4)}
    half = replace(LLAMA, native_precision=Precision.FP16)
    assert Precision.BF16 not in {tried.precision for tried in configurations(H200, half, 4)}
    assert Precision.FP16 in {tried.precision for tried in configurations(H200, half, 4)}


def test_chips_come_in_powers_of_two_within_a_domain_in_slices_or_as_many_as_the_weights_fill() -> None:
    assert chip_counts(H200, LLAMA, Precision.FP8) == [1, 2, 4, 8]
    assert chip_counts(catalog.device("gb200-nvl72"), LLAMA, Precision.FP8)[-1] == 64
    sliced = replace(H200, slice_chips=(1, 4, 8))
    assert chip_counts(sliced, LLAMA, Precision.FP8) == [1, 4, 8]
    wafer = chip_counts(catalog.device("cerebras-wse-3"), LLAMA, Precision.BF16)
    assert wafer[0] == 4  # 141 GB over 44 GB each
    assert wafer[-1] == 16


def test_a_promise_nothing_keeps_is_answered_with_the_nearest_miss() -> None:
    none = cheapest(H200, LLAMA, CHAT, Promise(ttft_s=2.0, tpot_s=0.001), RENT)
    assert isinstance(none, NoOffer)
    assert none.why.startswith("tpot: alone on 8 chips in ")
    assert cheapest(H200, LLAMA, CHAT, Promise(ttft_s=0.001), RENT) != none


def test_a_model_that_fits_nowhere_is_answered_with_its_shortfall() -> None:
    none = cheapest(replace(H200, scaleup_domain=2), R1, CHAT, LOOSE, RENT)
    assert isinstance(none, NoOffer)
    assert "671.03 GB of weights" in none.why


def test_a_chip_that_computes_in_wider_formats_only_serves_the_model_in_the_next_wider_one() -> None:
    wafer = catalog.device("cerebras-wse-3")
    assert formats(wafer, R1, 4) == formats(wafer, OSS, 8) == [Precision.BF16]


def test_throughput_at_a_measured_promise_is_the_measured_one() -> None:
    workload = Workload(800, 3746)
    found = ranked("deepseek-v3", Promise(1.5, 0.015), workload)
    wrote = {offer.device.id: offer.requests_per_chip_s * 3746 for offer in found.offers}
    assert wrote["gb200-nvl72"] == pytest.approx(3338)
    assert wrote["gb300-nvl72"] == pytest.approx(3481)
    assert {offer.device.id: offer.basis for offer in found.offers}["gb200-nvl72"] is Basis.MEASURED


def test_between_two_measured_promises_the_factor_lies_between_theirs() -> None:
    gb200 = catalog.device("gb200-nvl72")
    tight, loose = measured_points(gb200, R1)
    assert (tight.tpot_s, loose.tpot_s) == (0.015, 0.08)
    factors = [correction(gb200, R1, Promise(1.5, tpot_s)) for tpot_s in (0.015, 0.03, 0.08)]
    values = [found[0] for found in factors if found]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 3
    assert {found[1] for found in factors if found} == {Basis.MEASURED}


@pytest.mark.parametrize("tpot_s", [0.005, 0.5, None])
def test_beyond_the_measured_promises_a_prediction_is_only_scaled(tpot_s: float | None) -> None:
    found = correction(catalog.device("gb200-nvl72"), R1, Promise(1.5, tpot_s))
    assert found is not None
    assert found[1] is Basis.SCALED


def test_a_device_never_benchmarked_with_a_model_keeps_its_prediction() -> None:
    assert correction(catalog.device("mi355x"), R1, LOOSE) is None
    assert correction(replace(H200, scaleup_domain=1, memory_bytes=1e9), LLAMA, LOOSE) is None
    predicted = ranked("deepseek-v3", LOOSE, CHAT, measured=False).offers
    assert {offer.basis for offer in predicted} == {Basis.PREDICTED}


def test_projected_devices_are_ranked_only_when_asked_for() -> None:
    devices = [H200, catalog.device("maia-200")]
    plain = ranking(devices, LLAMA, CHAT, LOOSE)
    assert [offer.device.id for offer in plain.offers] == ["h200-sxm"]
    assert plain.without[0].why == "no public measurement: its figures are projections"
    asked = ranking(devices, LLAMA, CHAT, LOOSE, projected=True)
    assert {offer.device.id: offer.basis for offer in asked.offers}["maia-200"] is Basis.PROJECTED


def test_devices_without_figures_or_price_make_no_offer() -> None:
    found = ranking([catalog.device("metax-c700"), catalog.device("l40s")], LLAMA, CHAT, LOOSE)
    assert found.offers == ()
    assert [none.why for none in found.without] == [
        catalog.device("metax-c700").why_not,
        "nobody publishes what it costs",
    ]


def test_at_a_loose_promise_boxes_of_eight_are_cheapest_for_a_dense_70b() -> None:
    found = ranked("llama-2-70b", Promise(2.0, 0.2), Workload(155, 283))
    assert [offer.device.id for offer in found.offers[:3]] == ["mi355x", "b200-sxm", "b300-sxm"]
    usd = {offer.device.id: offer.cost.usd_per_m_written(Workload(155, 283)) for offer in found.offers}
    assert usd["mi355x"] == pytest.approx(0.047, abs=5e-4)
    assert usd["b200-sxm"] == pytest.approx(0.062, abs=5e-4)
    assert usd["gb300-nvl72"] == pytest.approx(0.091, abs=5e-4)


@pytest.mark.parametrize(
    ("model_id", "promise", "workload", "usd"),
    [
        ("deepseek-v3", Promise(1.5, 0.015), Workload(800, 3746), {"gb200-nvl72": 0.275, "gb300-nvl72": 0.316}),
        ("gpt-oss-120b", Promise(2.0, 0.015), Workload(1000, 1309), {"gb200-nvl72": 0.1056, "gb300-nvl72": 0.1169}),
    ],
)
def test_at_15_ms_a_token_the_rack_is_cheapest_for_mixtures(
    model_id: str, promise: Promise, workload: Workload, usd: dict[str, float]
) -> None:
    found = ranked(model_id, promise, workload)
    assert [offer.device.id for offer in found.offers[:2]] == ["gb200-nvl72", "gb300-nvl72"]
    for offer in found.offers[:2]:
        assert offer.cost.usd_per_m_written(workload) == pytest.approx(usd[offer.device.id], rel=2e-3)


def test_rent_decides_what_is_cheapest_as_much_as_speed_does() -> None:
    devices = [H200, B200]
    by_contract = ranking(devices, LLAMA, CHAT, LOOSE, RentKind.RENTAL).offers
    by_the_hour = ranking(devices, LLAMA, CHAT, LOOSE, RentKind.ON_DEMAND).offers
    assert by_contract[0].cost.request_usd(CHAT) < by_the_hour[0].cost.request_usd(CHAT)
