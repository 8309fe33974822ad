"""Links and networks of the catalogue: their arithmetic, their places, their sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.catalog import UnknownId
from devices.fabric import presets
from devices.fabric.presets import Optics, Reach
from devices.fabric.topology import Path, Place, Topology
from devices.packaged import read


@pytest.mark.parametrize(
    ("name", "gpus", "switches", "gpus_per_switch"),
    [
        ("clos-2-tier-800g", 2_048, 96, 21.3),
        ("clos-3-tier-800g", 65_536, 5_120, 12.8),
        ("clos-4-tier-800g", 2_097_152, 229_376, 9.1),
        ("multi-plane-2-tier-100g", 131_072, 6_144, 21.3),
        ("rail-only-2-tier-100g", 524_288, 24_576, 21.3),
    ],
)
def test_a_network_has_so_many_gpus_and_switches(name: str, gpus: int, switches: int, gpus_per_switch: float) -> None:
    network = presets.topology(name)
    assert (network.max_gpus, network.switches) == (gpus, switches)
    assert network.gpus_per_switch == pytest.approx(gpus_per_switch, abs=0.05)
    assert network.oversubscription == 1
    assert network.adapter_bits_per_s == 800e9
    assert network.switch_bits_per_s == 51.2e12


def test_a_small_clos_is_counted_by_hand() -> None:
    """Switches of 4 ports: 4 leaves of 2 hosts under 2 spines; with three tiers 16 hosts under 8 + 8 + 4."""
    assert (Topology(2, 4, 1.0).max_gpus, Topology(2, 4, 1.0).switches) == (8, 6)
    assert (Topology(3, 4, 1.0).max_gpus, Topology(3, 4, 1.0).switches) == (16, 20)


def test_ports_turned_towards_gpus_oversubscribe_the_rest() -> None:
    network = presets.topology("clos-2-tier-800g", 48)
    assert network.oversubscription == 3
    assert (network.max_gpus, network.switches) == (64 * 48, 64 + 16)


@given(
    tiers=st.integers(2, 4), half=st.integers(2, 64), data=st.data(), planes=st.integers(1, 8), rails=st.integers(1, 8)
)
def test_every_switch_of_a_network_has_ports_enough(
    tiers: int, half: int, data: st.DataObject, planes: int, rails: int
) -> None:
    down = data.draw(st.integers(1, 2 * half - 1))
    network = Topology(tiers, 2 * half, 1e9, planes, rails, down)
    per_plane = network.switches / planes / rails
    leaves = network.max_gpus / down / rails
    wires_up = leaves * (2 * half - down)
    ports_above = (per_plane - leaves) * 2 * half
    assert ports_above >= wires_up * (2 * tiers - 3)
    assert ports_above < wires_up * (2 * tiers - 3) + 2 * half * (tiers - 1)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"tiers": 1, "radix": 64}, "a Clos of 1 tiers; 2 to 4 are possible"),
        ({"tiers": 5, "radix": 64}, "a Clos of 5 tiers"),
        ({"tiers": 2, "radix": 63}, "a radix of 63; half of"),
        ({"tiers": 2, "radix": 0}, "a radix of 0"),
        ({"tiers": 2, "radix": 64, "leaf_down": 64}, "leaf_down 64 of 64 ports; at least one must face up"),
        ({"tiers": 2, "radix": 64, "leaf_down": -1}, "leaf_down -1 of 64"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(what: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Topology(port_bits_per_s=1e9, **what)


HERE = Place("east", "r1", "t1")


@pytest.mark.parametrize(
    ("there", "switches", "oversubscription"),
    [
        (HERE, 1, 1),
        (Place("east", "r1", "t2"), 1, 1),
        (Place("east", "r1"), 1, 1),
        (Place("east", "r2", "t1"), 5, 3),
        (Place("east"), 5, 3),
        (Place("west", "r1", "t1"), 6, 3),
    ],
)
def test_the_way_between_two_places_goes_through_so_many_switches(
    there: Place, switches: int, oversubscription: float
) -> None:
    network = presets.topology("clos-3-tier-800g", 48)
    assert network.path(HERE, there) == network.path(there, HERE) == Path(switches, oversubscription)


def test_places_nobody_named_are_taken_for_far_apart() -> None:
    assert presets.topology("clos-2-tier-800g").path(Place(), Place()) == Path(3, 1)


def test_rails_of_one_tray_never_meet_in_the_network() -> None:
    network = presets.topology("rail-only-2-tier-100g")
    assert network.path(HERE, HERE) is None
    assert network.path(HERE, Place("east", "r1", "t2")) == Path(1, 1)
    assert network.tray_bits_per_s == 3200e9


def test_a_link_takes_its_figures_from_its_preset() -> None:
    wire = presets.link(presets.link_preset("rdma-400g"))
    assert (wire.bytes_per_s, wire.latency_s, wire.per_block_s, wire.block_size) == (43.5e9, 0.0005, 0.19e-6, 16)
    assert wire.usd_per_byte == 0


def test_adapters_share_the_bytes_and_not_the_descriptors() -> None:
    preset = presets.link_preset("rdma-400g")
    one, four = (presets.link(preset, adapters=n, descriptors_per_block=160, block_size=32) for n in (1, 4))
    assert four.bytes_per_s == 4 * one.bytes_per_s
    assert four.per_block_s == one.per_block_s == pytest.approx(160 * 0.19e-6)
    assert four.block_size == 32


def test_a_way_adds_its_switches_and_divides_by_oversubscription() -> None:
    network = presets.topology("clos-2-tier-800g", 48)
    preset = presets.link_preset("rdma-800g")
    far = presets.link(preset, network, network.path(HERE, Place("east", "r2")))
    near = presets.link(preset, network, network.path(HERE, HERE))
    assert far.bytes_per_s == pytest.approx(100e9 / 3)
    assert near.bytes_per_s == preset.bytes_per_s
    assert far.latency_s - near.latency_s == pytest.approx(2 * 0.6e-6)


def test_distance_costs_time_and_foreign_wires_cost_money() -> None:
    wire = presets.link(presets.link_preset("wan"), km=1000)
    assert wire.latency_s == pytest.approx(0.002 + 0.0049)
    assert wire.transfer_usd(2_684_354_560) == pytest.approx(0.0537, abs=5e-5)


def test_a_trunk_bounds_what_any_number_of_adapters_can_send() -> None:
    preset = presets.link_preset("ai-wan")
    assert presets.link(preset, adapters=100).bytes_per_s == pytest.approx(100 * 87e9)
    assert presets.link(preset, adapters=1000).bytes_per_s == 37.5e12


def test_nvlink_is_slower_than_rdma_when_each_layer_is_posted_apart_and_faster_when_not() -> None:
    """As measured on GB200 (vLLM issue 55434): 8,192 tokens of a 70B Llama from 4 chips to 4."""
    kv_bytes, tokens = 2_684_354_560, 8192

    def seconds(name: str, descriptors: int) -> float:
        wire = presets.link(presets.link_preset(name), adapters=4, descriptors_per_block=descriptors)
        return wire.transfer_s(tokens, kv_bytes)

    assert seconds("nvlink-5", 160) > 3 * seconds("rdma-400g", 160)
    assert seconds("nvlink-5", 1) < seconds("rdma-400g", 1) / 3


@given(tokens=st.integers(1, 200_000), name=st.sampled_from(presets.link_presets()), km=st.floats(0, 20_000))
def test_transfers_take_longer_with_more_tokens_and_more_distance(tokens: int, name: str, km: float) -> None:
    preset = presets.link_preset(name)
    near, far = presets.link(preset), presets.link(preset, km=km)
    assert 0 < near.transfer_s(tokens, tokens * 327_680) <= far.transfer_s(tokens, tokens * 327_680)
    assert near.transfer_s(tokens, tokens * 327_680) < near.transfer_s(tokens + 1, (tokens + 1) * 327_680)


def test_optics_are_counted_in_pairs_of_fibres() -> None:
    assert presets.optics("fr-800g").pairs(300e12) == 375
    assert presets.optics("dwdm-32").pairs(300e12) == 12
    assert presets.optics("dwdm-64").pair_bits_per_s == 51.2e12
    assert Optics(1.0, 3).pairs(3.1) == 2


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda: presets.link_preset("rdma-40g"), "unknown link preset 'rdma-40g'; did you mean 'rdma-400g'?"),
        (lambda: presets.topology("clos"), "unknown topology 'clos'; "),
        (lambda: presets.optics("dwdm"), "unknown optics 'dwdm'; did you mean 'dwdm-"),
    ],
)
def test_unknown_names_suggest_the_nearest(find: object, message: str) -> None:
    assert callable(find)
    with pytest.raises(UnknownId) as caught:
        find()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", presets.link_presets())
def test_every_link_is_complete_and_sane(name: str) -> None:
    preset = presets.link_preset(name)
    assert 1e9 <= preset.bytes_per_s <= 1.8e12
    assert 0 < preset.per_descriptor_s < 1e-5
    assert 0 < preset.latency_s < 0.01
    assert set(preset.sources) >= {"nominal_bytes_per_s", "attained", "latency_s", "per_descriptor_s"}


def test_the_wider_link_of_a_kind_is_faster() -> None:
    for kind in ("nvlink-3 nvlink-4 nvlink-5 nvlink-6", "rdma-100g rdma-200g rdma-400g rdma-800g", "efa-200g efa-400g"):
        rates = [presets.link_preset(name).bytes_per_s for name in kind.split()]
        assert rates == sorted(rates)
    assert {presets.link_preset(name).reach for name in presets.link_presets()} == set(Reach)


def test_every_figure_of_the_file_has_a_source() -> None:
    data = read("fabric.yaml")
    entries = [*data["links"].values(), *data["topologies"].values(), *data["optics"].values(), data["constants"]]
    figures = [cell for entry in entries for cell in entry.values() if isinstance(cell, dict)]
    assert len(figures) > 60
    assert all(len(figure["source"]) > 5 for figure in figures)
    assert all(presets.topology(name).max_gpus for name in presets.topologies())
