"""What the networks of the articles amount to."""

from functools import partial

from devices.catalog import device, model
from devices.fabric import presets
from devices.fabric.topology import Place
from devices.natures.outage import FailureUnit, outage
from devices.packaged import read
from devices.profile import Precision
from seed_checks.key import Checks, near

RAILS = "rail-only-2-tier-100g"
PLANES = "multi-plane-2-tier-100g"


def sites_are_300_tbit_apart_and_a_transfer_has_seconds_and_dollars() -> None:
    trunk = presets.link_preset("ai-wan")
    near((trunk.shared_bytes_per_s or 0) * 8, 300e12, 0)
    kv_bytes = model("llama-3.1-70b").kv_bytes(8192, Precision.FP16)
    own, rented = presets.link(trunk, adapters=4, km=1000), presets.link(presets.link_preset("wan"), km=1000)
    assert 0 < own.transfer_s(8192, kv_bytes) < rented.transfer_s(8192, kv_bytes)
    assert own.transfer_usd(kv_bytes) == 0
    near(rented.transfer_usd(kv_bytes), 0.0537)


def holds(name: str, gpus: int) -> None:
    assert presets.topology(name).max_gpus == gpus


def gpus_per_switch(name: str, gpus: float) -> None:
    assert round(presets.topology(name).gpus_per_switch, 1) == gpus


def rails_hold_so_many_and_trays_have_no_inner_path() -> None:
    holds(RAILS, 524_288)
    tray = Place("a", "r", "t")
    assert presets.topology(RAILS).path(tray, tray) is None
    assert presets.topology(PLANES).path(tray, tray) is not None


def a_tray_sends_3200_gbit() -> None:
    near(presets.topology(RAILS).tray_bits_per_s, 3200e9, 0)


def there_are_32_planes() -> None:
    assert presets.topology(RAILS).planes * presets.topology(RAILS).rails == 32


def rails_take_24576_switches() -> None:
    assert presets.topology(RAILS).switches == 24_576


def rails_hold_four_times_the_gpus() -> None:
    assert presets.topology(RAILS).max_gpus == 4 * presets.topology(PLANES).max_gpus


def a_fibre_pair_carries_terabits_and_not_petabits() -> None:
    near(presets.optics("dwdm-64").pair_bits_per_s, 51.2e12, 0)
    recorded = read("fabric.yaml")["optics"]["dwdm-64"]["channels"]["source"]
    assert "51.2 Tb/s" in recorded
    assert "51.2 Pb/s" in recorded


def pairs_for_300_tbit(optics: str, pairs: int) -> None:
    assert presets.optics(optics).pairs(300e12) == pairs


def a_gpu_has_800_gbit() -> None:
    assert device("b300-sxm").scaleout_bytes_per_s == 100e9
    assert presets.topology(PLANES).adapter_bits_per_s == 800e9
    assert presets.link_preset("rdma-800g").bytes_per_s <= 100e9


def a_tpu_slice_fails_whole_and_is_back_in_milliseconds() -> None:
    lost = outage(device("tpu-v7"), 64)
    assert (lost.unit, lost.chips) == (FailureUnit.SLICE, 64)
    assert lost.returns_s is not None
    assert 0.001 <= lost.returns_s < 1
    assert outage(device("h100-sxm"), 8).returns_s is None


CHECKS: Checks = {
    ("002", "Microsoft AI WAN", "bandwidth"): sites_are_300_tbit_apart_and_a_transfer_has_seconds_and_dollars,
    ("002", "Clos 2-tier 800G", "max GPUs"): partial(holds, "clos-2-tier-800g", 2_048),
    ("002", "Clos 3-tier", "max GPUs"): partial(holds, "clos-3-tier-800g", 65_536),
    ("002", "Clos 4-tier", "max GPUs"): partial(holds, "clos-4-tier-800g", 2_097_152),
    ("002", "Clos 4-tier", "GPUs per switch"): partial(gpus_per_switch, "clos-4-tier-800g", 9.1),
    ("002", "2-tier split", "max GPUs"): partial(holds, PLANES, 131_072),
    ("002", "2-tier split", "GPUs per switch"): partial(gpus_per_switch, PLANES, 21.3),
    ("002", "rail-only 2-tier", "max GPUs"): rails_hold_so_many_and_trays_have_no_inner_path,
    ("002", "rail-only", "tray uplink"): a_tray_sends_3200_gbit,
    ("002", "rail-only", "planes"): there_are_32_planes,
    ("002", "rail-only", "switches"): rails_take_24576_switches,
    ("002", "rail-only", "GPUs per switch"): partial(gpus_per_switch, RAILS, 21.3),
    ("002", "rail-only", "gain"): rails_hold_four_times_the_gpus,
    ("002", "DWDM", "fibre pair capacity"): a_fibre_pair_carries_terabits_and_not_petabits,
    ("002", "FR optics", "pairs for 300 Tb/s"): partial(pairs_for_300_tbit, "fr-800g", 375),
    ("002", "DWDM 32 channels", "pairs for 300 Tb/s"): partial(pairs_for_300_tbit, "dwdm-32", 12),
    ("002", "GPU NIC (CX-8)", "port speed"): a_gpu_has_800_gbit,
    ("004", "TPU OCS", "reconfiguration"): a_tpu_slice_fails_whole_and_is_back_in_milliseconds,
}
