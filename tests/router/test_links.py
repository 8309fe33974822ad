"""A link of a fleet file takes its figures from a preset and the network, unless the file gives them."""

from pathlib import Path

import pytest

from devices.worker import Link
from router.config import ConfigError, load
from router.layout import layout
from router.schema import Config

KV = "kv: {connector: nixl}"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def loaded(file: Path, link: str, fabric: str = "", p: str = "site: east", d: str = "site: east") -> Config:
    """Line 5 is the first pool, line 7 the link, line 8 the fabric."""
    pool = "device: h200-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, simulate: 1"
    file.write_text(
        f"models:\n  - {{name: llama-3.1-70b}}\npools:\n  - {{name: p, {pool}, {p}}}\n  - {{name: d, {pool}, {d}}}\n"
        f"links:\n  - {{from: p, to: d, {link}}}\n{fabric}\n"
    )
    return load(file)


def wire(config: Config) -> Link:
    return layout(config).links["p", "d"]


def complaint(file: Path, link: str, fabric: str = "", p: str = "site: east", d: str = "site: east") -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(file, link, fabric, p, d)
    [line] = str(caught.value).replace(f"{file.parent}/", "").splitlines()
    return line


def test_a_preset_stands_for_its_figures(fleet: Path) -> None:
    made = wire(loaded(fleet, f"preset: rdma-400g, {KV}"))
    assert made == Link(43.5e9, 0.0005, 80 * 2 * 0.19e-6, 16)


def test_adapters_and_distance_come_on_top(fleet: Path) -> None:
    made = wire(loaded(fleet, f"preset: campus, adapters: 4, km: 10, {KV}"))
    assert made.bytes_per_s == pytest.approx(4 * 12.5e9 * 0.87)
    assert made.latency_s == pytest.approx(0.0005 + 10 * 4.9e-6)


def test_blocks_of_all_layers_in_one_piece_cost_one_descriptor(fleet: Path) -> None:
    made = wire(loaded(fleet, "preset: rdma-400g, kv: {connector: nixl, block_size: 64, cross_layer_blocks: true}"))
    assert (made.per_block_s, made.block_size) == (0.19e-6, 64)


def test_a_latent_cache_is_one_piece_a_layer(fleet: Path) -> None:
    fleet.write_text(
        "models: [{name: deepseek-v3}]\npools:\n"
        "  - {name: p, device: h200-sxm, tp: 8, model: deepseek-v3, precision: fp8, simulate: 2}\n"
        f"links: [{{from: p, to: p, preset: rdma-400g, {KV}}}]\n"
    )
    assert layout(load(fleet)).links["p", "p"].per_block_s == pytest.approx(61 * 0.19e-6)


def test_figures_of_the_file_win_over_the_preset(fleet: Path) -> None:
    figures = "gbytes_per_s: 190, latency_s: 0, per_block_s: 0.000001, usd_per_gbyte: 0.05"
    assert wire(loaded(fleet, f"preset: wan, {figures}, {KV}")) == Link(190e9, 0.0, 1e-6, 16, 0.05 / 1e9)
    made = wire(loaded(fleet, f"preset: wan, latency_s: 0.1, {KV}"))
    assert (made.latency_s, made.usd_per_byte) == (0.1, pytest.approx(0.02e-9))


def test_figures_alone_are_enough(fleet: Path) -> None:
    assert wire(loaded(fleet, f"gbytes_per_s: 50, {KV}")) == Link(50e9, 0.0, 0.0, 16)


def test_a_link_without_kv_needs_no_figures_of_blocks(fleet: Path) -> None:
    assert layout(loaded(fleet, "preset: rdma-400g")).links == {}


CLOS = "fabric: {topology: clos-2-tier-800g, leaf_down: 48}"


@pytest.mark.parametrize(
    ("p", "d", "switches", "gbytes_per_s"),
    [
        ("site: east, rack: r1", "site: east, rack: r1", 1, 87),
        ("site: east, rack: r1", "site: east, rack: r2", 3, 100 / 3),
        ("site: east", "site: east", 3, 100 / 3),
    ],
)
def test_where_pools_stand_decides_what_they_cross(
    fleet: Path, p: str, d: str, switches: int, gbytes_per_s: float
) -> None:
    made = wire(loaded(fleet, f"preset: rdma-800g, {KV}", CLOS, p, d))
    assert made.bytes_per_s == pytest.approx(gbytes_per_s * 1e9)
    assert made.latency_s == pytest.approx(0.0005 + switches * 0.6e-6)


def test_scale_up_links_do_not_cross_the_network(fleet: Path) -> None:
    made = wire(loaded(fleet, f"preset: nvlink-4, {KV}", CLOS))
    assert (made.bytes_per_s, made.latency_s) == (337.5e9, 0.0005)


RAILS = "fabric: {topology: rail-only-2-tier-100g}"
TRAY = "site: east, rack: r1, tray: t1"


def test_within_a_tray_of_rails_only_scale_up_links_exist(fleet: Path) -> None:
    line = complaint(fleet, f"preset: rdma-800g, {KV}", RAILS, TRAY, TRAY)
    assert line == (
        "fleet.yaml:7:30: links[0].preset: the GPUs of tray t1 stand on rails that never meet; "
        "use an nvlink preset, which stays inside the tray"
    )
    assert wire(loaded(fleet, f"preset: nvlink-4, {KV}", RAILS, TRAY, TRAY)).bytes_per_s == 337.5e9
    other = wire(loaded(fleet, f"preset: rdma-800g, {KV}", RAILS, TRAY, "site: east, rack: r1, tray: t2"))
    assert other.bytes_per_s == pytest.approx(87e9)


@pytest.mark.parametrize(
    ("link", "fabric", "p", "d", "line"),
    [
        (
            f"preset: rdma-40g, {KV}",
            "",
            "site: east",
            "site: east",
            "fleet.yaml:7:30: links[0].preset: unknown link preset 'rdma-40g'; did you mean 'rdma-400g'?",
        ),
        (
            f"preset: rdma-400g, {KV}",
            "",
            "site: east",
            "site: west",
            "fleet.yaml:7:30: links[0].preset: rdma-400g ends at the site, p is at east, d is at west; "
            "reach further with ai-wan, campus, wan, or give figures instead of a preset",
        ),
        (
            f"preset: rdma-400g, {KV}",
            "",
            "site: east",
            "rack: r1",
            "fleet.yaml:7:30: links[0].preset: rdma-400g ends at the site, p is at east, d is at no named site; "
            "reach further with ai-wan, campus, wan, or give figures instead of a preset",
        ),
        (
            f"preset: nvlink-5, {KV}",
            "",
            "rack: r1",
            "rack: r2",
            "fleet.yaml:7:30: links[0].preset: nvlink-5 ends at the rack, p is in r1, d is in r2; reach further with "
            "efa-200g, efa-400g, pcie-tcp, rdma-100g, rdma-200g, rdma-400g, rdma-800g, "
            "or give figures instead of a preset",
        ),
        (
            KV,
            "",
            "site: east",
            "site: east",
            "fleet.yaml:7:5: links[0]: needs preset or gbytes_per_s; presets: ai-wan, campus, efa-200g, efa-400g, "
            "nvlink-3, nvlink-4, nvlink-5, nvlink-6, pcie-tcp, rdma-100g, rdma-200g, rdma-400g, rdma-800g, wan",
        ),
        (
            f"gbytes_per_s: 50, km: 3, {KV}",
            "",
            "site: east",
            "site: east",
            "fleet.yaml:7:44: links[0].km: goes with a preset; without one, latency_s and gbytes_per_s say it all",
        ),
        (
            f"gbytes_per_s: 50, adapters: 3, {KV}",
            "",
            "site: east",
            "site: east",
            "fleet.yaml:7:50: links[0].adapters: goes with a preset; "
            "without one, latency_s and gbytes_per_s say it all",
        ),
        (
            f"preset: rdma-400g, {KV}",
            "fabric: {topology: clos-2-tier}",
            "site: east",
            "site: east",
            "fleet.yaml:8:20: fabric.topology: unknown topology 'clos-2-tier'; did you mean 'clos-2-tier-800g'?",
        ),
        (
            f"preset: rdma-400g, {KV}",
            "fabric: {topology: clos-2-tier-800g, leaf_down: 64}",
            "site: east",
            "site: east",
            "fleet.yaml:8:49: fabric.leaf_down: leaf_down 64 of 64 ports; at least one must face up",
        ),
        (
            f"presset: rdma-400g, {KV}",
            "",
            "site: east",
            "site: east",
            "fleet.yaml:7:22: links[0].presset: unknown field; did you mean 'preset'?",
        ),
    ],
)
def test_what_contradicts_is_told_with_its_place(
    fleet: Path, link: str, fabric: str, p: str, d: str, line: str
) -> None:
    assert complaint(fleet, link, fabric, p, d) == line


def test_the_example_has_a_link_within_the_rack_across_the_hall_and_to_another_city() -> None:
    """The figures of docs/fabric.md, by hand there."""
    built = layout(load(Path(__file__).parents[2] / "deploy" / "examples" / "fabric.yaml"))
    shape = built.workers[0].pool.shape
    assert shape is not None
    kv_bytes = shape.kv_bytes(8192, built.workers[0].pool.kv_precision)
    took = {target: made.transfer_s(8192, kv_bytes) * 1e3 for (_, target), made in built.links.items()}
    assert took == {
        "rack": pytest.approx(190.9, abs=0.05),
        "hall": pytest.approx(36.2, abs=0.05),
        "city": pytest.approx(2954, abs=0.5),
    }


def test_a_link_to_no_pool_is_told_once(fleet: Path) -> None:
    text = f"preset: rdma-400g, {KV}"
    loaded(fleet, text)
    fleet.write_text(fleet.read_text().replace("to: d", "to: x"))
    with pytest.raises(ConfigError, match=r"^\S+:7:19: links\[0\]\.to: unknown pool 'x'; .+$"):
        load(fleet)
