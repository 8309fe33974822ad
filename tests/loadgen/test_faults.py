"""A fault file becomes a sorted list of events for the workers it means, and says where it is wrong."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.natures.altered import Misstated, Slowed
from devices.worker import Worker
from loadgen.fault_events import ForeignLoad, Found, LinkChanged, Lost, Paced, PriceChanged, Reporting
from loadgen.fault_file import Fault, Slow
from loadgen.faults import Timeline, _states, timeline
from router.config import ConfigError, load
from router.layout import Layout, layout

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
FLEET = layout(load(EXAMPLES / "hetero.yaml"))
API = layout(load(EXAMPLES / "api.yaml"))


def read(folder: Path, faults: str, fleet: Layout = FLEET) -> Timeline:
    """The timeline of a file whose `faults` are these lines."""
    (folder / "faults.yaml").write_text("faults:\n" + "".join(f"  - {line.strip()}\n" for line in faults.splitlines()))
    return timeline(folder / "faults.yaml", fleet)


def worker(name: str, fleet: Layout = FLEET) -> Worker:
    return next(known for known in fleet.workers if known.name == name)


def test_without_a_file_nothing_happens_and_every_worker_is_what_it_claims() -> None:
    quiet = timeline(None, FLEET)
    assert quiet.events == ()
    assert all(quiet.engine_predictor(known) is known.pool.predictor for known in FLEET.workers)
    assert all(quiet.engine_limits(known) is known.pool.limits for known in FLEET.workers)


def test_the_shipped_example_uses_every_fault_and_target_and_is_sorted() -> None:
    events = timeline(EXAMPLES / "faults.yaml", FLEET).events
    assert {type(event) for event in events} == {
        Lost, Found, Paced, Reporting, ForeignLoad, LinkChanged, PriceChanged,
    }  # fmt: skip
    assert all(before.at_s <= after.at_s for before, after in pairwise(events))


def test_a_worker_dies_and_returns(tmp_path: Path) -> None:
    assert read(tmp_path, "{at: 3, until: 8, worker: lpu-0, down: true}").events == (
        Lost(3.0, "lpu-0"),
        Found(8.0, "lpu-0"),
    )


def test_a_vendor_and_a_site_go_with_all_their_workers(tmp_path: Path) -> None:
    nvidia = {event.worker for event in read(tmp_path, "{at: 1, vendor: nvidia, down: true}").events}
    assert nvidia == {"h200-0", "h200-1", "h200-prefill-0"}
    assert len(read(tmp_path, "{at: 1, site: east, down: true}").events) == len(FLEET.workers)


def test_overlapping_outages_are_one(tmp_path: Path) -> None:
    both = read(
        tmp_path,
        """{at: 10, until: 30, vendor: groq, down: true}
        {at: 20, until: 40, worker: lpu-0, down: true}
        {at: 40, until: 50, worker: lpu-0, down: true}""",
    )
    assert both.events == (Lost(10.0, "lpu-0"), Found(50.0, "lpu-0"))


def test_overlapping_slowness_multiplies_and_ends_with_the_worker_as_it_was(tmp_path: Path) -> None:
    both = read(
        tmp_path,
        """{at: 0, until: 30, pool: tpu, slow: {factor: 2}}
        {at: 10, until: 20, worker: tpu-0, slow: {factor: 3}}""",
    )
    plain = worker("tpu-0").pool.predictor
    assert both.events == (
        Paced(0.0, "tpu-0", Slowed(plain, 2.0)),
        Paced(10.0, "tpu-0", Slowed(plain, 6.0)),
        Paced(20.0, "tpu-0", Slowed(plain, 2.0)),
        Paced(30.0, "tpu-0", plain),
    )


def test_of_telemetry_the_last_in_the_file_holds_and_the_first_is_back_after_it(tmp_path: Path) -> None:
    both = read(
        tmp_path,
        """{until: 30, pool: lpu, telemetry: {delay_s: 2}}
        {at: 10, until: 20, worker: lpu-0, telemetry: none}""",
    )
    assert [(event.at_s, event.delay_s, event.loss) for event in both.events if isinstance(event, Reporting)] == [
        (0.0, 2.0, 0.0),
        (10.0, 0.0, 1.0),
        (20.0, 2.0, 0.0),
        (30.0, 0.0, 0.0),
    ]


def test_a_share_of_reports_is_lost_and_the_same_ones_every_time() -> None:
    lossy = Reporting(0.0, "w", 0.0, 0.25, seed=1)
    lost = [lossy.lost(number) for number in range(4000)]
    assert lost == [lossy.lost(number) for number in range(4000)]
    assert sum(lost) == pytest.approx(1000, abs=4 * math.sqrt(4000 * 0.25 * 0.75))
    assert not any(Reporting(0.0, "w", 0.0, 0.0, seed=1).lost(number) for number in range(100))
    assert all(Reporting(0.0, "w", 0.0, 1.0, seed=1).lost(number) for number in range(100))


def test_foreign_load_has_its_rate_and_lengths_and_ends_when_told(tmp_path: Path) -> None:
    [load] = read(
        tmp_path, "{at: 100, until: 600, worker: h200-0, foreign: {rate_per_s: 4, input: 900, output: 50}}"
    ).events
    assert isinstance(load, ForeignLoad)
    sent = list(load.requests())
    assert sent == list(load.requests())
    assert len(sent) == pytest.approx(2000, abs=4 * math.sqrt(2000))
    assert all(100 < request.at_s < 600 for request in sent)
    assert {(request.input_tokens, request.output_tokens) for request in sent} == {(900, 50)}


def test_two_workers_get_different_foreign_load_and_none_more_than_fits(tmp_path: Path) -> None:
    loads = read(tmp_path, "{pool: h200, foreign: {rate_per_s: 1, input: 32768, output: 32768}}").events
    first, second = (list(islice(load.requests(), 20)) for load in loads if isinstance(load, ForeignLoad))
    assert [request.at_s for request in first] != [request.at_s for request in second]
    [tight] = read(tmp_path, "{worker: lpu-0, foreign: {rate_per_s: 1, input: 32768, output: 32768}}").events
    assert isinstance(tight, ForeignLoad)
    limits = worker("lpu-0").pool.limits
    for request in islice(tight.requests(), 20):
        assert request.input_tokens >= 1 <= request.output_tokens
        assert request.input_tokens + request.output_tokens <= min(limits.max_context_tokens, limits.kv_tokens)


def test_a_link_is_cut_slow_and_whole_again(tmp_path: Path) -> None:
    changes = read(
        tmp_path,
        """{at: 5, until: 9, link: {from: h200-prefill, to: mi355x}, down: true}
        {at: 7, until: 12, link: {from: h200-prefill, to: mi355x}, slow: {factor: 4}}""",
    ).events
    whole = FLEET.links["h200-prefill", "mi355x"]
    cut, slow, back = (event.link for event in changes if isinstance(event, LinkChanged))
    assert cut is None
    assert slow is not None
    assert slow.transfer_s(1000, 1e9) == pytest.approx(4 * whole.transfer_s(1000, 1e9))
    assert back == whole
    assert [event.at_s for event in changes] == [5.0, 9.0, 12.0]


def test_a_rent_changes_by_factor_or_to_a_figure(tmp_path: Path) -> None:
    changes = read(
        tmp_path,
        """{at: 5, until: 9, pool: tpu, price: {factor: 2}}
        {at: 20, vendor: nvidia, price: {usd_per_chip_hour: 9}}""",
    ).events
    assert [(event.pool, event.billing.usd_per_chip_hour) for event in changes if isinstance(event, PriceChanged)] == [
        ("tpu", 5.4),
        ("tpu", 2.7),
        ("h200", 9.0),
        ("h200-prefill", 9.0),
    ]


def test_an_api_gets_dearer_in_all_its_rates(tmp_path: Path) -> None:
    api = next(known for known in API.workers if known.pool.metered)
    [change] = read(tmp_path, f"{{pool: {api.pool.name}, price: {{factor: 3}}}}", API).events
    assert isinstance(change, PriceChanged)
    before, after = api.pool.billing.price, change.billing.price
    assert before is not None
    assert after is not None
    assert after.usd(1000, 500, 100) == pytest.approx(3 * before.usd(1000, 500, 100))
    [set_to] = read(tmp_path, f"{{pool: {api.pool.name}, price: {{usd_per_m_output: 77}}}}", API).events
    assert isinstance(set_to, PriceChanged)
    assert set_to.billing.price is not None
    assert set_to.billing.price.usd_per_m_output == 77
    assert set_to.billing.price.usd_per_m_input == before.usd_per_m_input


def test_a_worker_that_is_another_device_works_like_it_and_the_scheduler_is_not_told(tmp_path: Path) -> None:
    found = read(tmp_path, "{worker: h200-1, is_really: {device: h100-sxm}}")
    honest, other = worker("h200-0"), worker("h200-1")
    assert found.events == ()
    assert found.engine_predictor(honest) is honest.pool.predictor
    assert found.engine_predictor(other).decode_step_s(64, 1e6) > 1.2 * other.pool.predictor.decode_step_s(64, 1e6)
    assert found.engine_limits(other).kv_tokens < other.pool.limits.kv_tokens


def test_a_misstated_profile_changes_the_engine_beside_what_else_is_wrong_with_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """{pool: h200, misstated: {scale: 1.5, shape: 0.8}}
        {worker: h200-1, is_really: {device: h100-sxm}}
        {at: 4, worker: h200-1, slow: {factor: 2}}""",
    )
    other = found.engine_predictor(worker("h200-1"))
    assert isinstance(other, Misstated)
    assert found.engine_predictor(worker("h200-0")) == Misstated(worker("h200-0").pool.predictor, 1.5, 0.8)
    assert found.events == (Paced(4.0, "h200-1", Slowed(other, 2.0)),)


WRONG = [
    ("{worker: h200-7, down: true}", "2:14: faults[0].worker: unknown worker 'h200-7'; did you mean 'h200-"),
    ("{pool: h20, down: true}", "2:12: faults[0].pool: unknown pool 'h20'; did you mean 'h200'?"),
    ("{site: west, down: true}", "2:12: faults[0].site: unknown site 'west'; did you mean 'east'?"),
    ("{vendor: nvidea, down: true}", "faults[0].vendor: unknown vendor 'nvidea'; did you mean 'nvidia'?"),
    (
        "{link: {from: h200, to: tpu}, down: true}",
        "2:12: faults[0].link: no such link in use; those in use: h200-prefill",
    ),
    ("{down: true}", "2:5: faults[0]: no target; give one of worker, pool, vendor, site, link"),
    ("{pool: tpu}", "2:5: faults[0]: no fault; give one of down, slow, is_really"),
    ("{pool: tpu, site: east, down: true}", "2:23: faults[0].site: beside pool; give one target in each entry"),
    ("{pool: tpu, down: true, slow: {factor: 2}}", "faults[0].slow: beside down; give one fault in each entry"),
    ("{pool: tpu, slow: {facter: 2}}", "2:24: faults[0].slow.facter: unknown field; did you mean 'factor'?"),
    ("{pool: tpu, slwo: {factor: 2}}", "faults[0].slwo: unknown field; did you mean 'slow'?"),
    ("{pool: tpu, slow: {factor: 0}}", "faults[0].slow.factor: input should be greater than or equal to 0.001, not 0"),
    ("{pool: tpu, down: false}", "faults[0].down: 'False' is not possible"),
    ("{at: 9, until: 9, pool: tpu, down: true}", "faults[0].until: 9 is not after 9, where the fault begins"),
    ("{at: -1, pool: tpu, down: true}", "faults[0].at: input should be greater than or equal to 0, not -1"),
    ("{at: 1, pool: tpu, misstated: {scale: 2}}", "faults[0].at: misstated holds for the whole run"),
    ("{until: 5, pool: tpu, is_really: {device: tpu-v5e}}", "faults[0].until: is_really holds for the whole run"),
    ("{pool: tpu, is_really: {}}", "faults[0].is_really: nothing differs; give device"),
    ("{pool: tpu, is_really: {device: tpu-v9}}", "in place of a worker of tpu: unknown device 'tpu-v9'; did you mean"),
    ("{pool: h200, is_really: {device: t4}}", "faults[0].is_really: in place of a worker of h200: "),
    ("{link: {from: h200-prefill, to: lpu}, telemetry: none}", "faults[0].telemetry: is no fault of a link"),
    (
        "{pool: tpu, telemetry: {loss: 1.5}}",
        "faults[0].telemetry.loss: input should be less than or equal to 1, not 1.5",
    ),
    ("{pool: tpu, foreign: {rate_per_s: 1, input: long}}", "faults[0].foreign.input: length 'long'; expected P50"),
    (
        "{pool: tpu, foreign: {rate_per_s: 1, arrivals: x}}",
        "faults[0].foreign.arrivals: arrivals 'x'; expected poisson",
    ),
    ("{worker: tpu-0, price: {factor: 2}}", "faults[0].price: is paid by the pool; give pool instead of worker"),
    ("{pool: tpu, price: {}}", "faults[0].price: no price; give factor"),
    ("{pool: tpu, price: {factor: 2, usd_per_chip_hour: 1}}", "faults[0].price.factor: beside figures; give either"),
    ("{pool: tpu, price: {usd_per_m_input: 1}}", "faults[0].price.usd_per_m_input: only a metered API is paid by the"),
    (
        "{pool: tpu, misstated: {scale: 2}}\n{worker: tpu-0, misstated: {shape: 2}}",
        "3:32: faults[1].misstated: tpu-0 has another",
    ),
]


@pytest.mark.parametrize(
    ("faults", "message"), WRONG, ids=[message.split(": ", 1)[0] + str(i) for i, (_, message) in enumerate(WRONG)]
)
def test_a_bad_entry_is_told_with_its_place_and_what_to_do(tmp_path: Path, faults: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, faults)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{tmp_path}/faults.yaml:") for line in lines)
    assert [line for line in lines if message in line]


@pytest.mark.parametrize("fault", ["is_really: {device: h100-sxm}", "telemetry: none", "foreign: {rate_per_s: 1}"])
def test_nobody_looks_into_a_metered_api(tmp_path: Path, fault: str) -> None:
    api = next(known for known in API.workers if known.pool.metered)
    with pytest.raises(ConfigError, match="a metered API shows neither its hardware nor its load"):
        read(tmp_path, f"{{worker: {api.name}, {fault}}}", API)
    with pytest.raises(ConfigError, match="a metered API is paid by the token"):
        read(tmp_path, f"{{pool: {api.pool.name}, price: {{usd_per_chip_hour: 1}}}}", API)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1:1: expected faults: [...], a list of entries under that key"),
        ("faults: []\n", ":1:9: faults: expected at least one entry"),
        ("seed: 1\n", ":1:1: faults: required, but missing"),
        ("faults: [\n", ":2:1: "),
        ("sede: 1\nfaults: [{pool: tpu, down: true}]\n", ":1:1: sede: unknown field; did you mean 'seed'?"),
        ("seed: 1\nseed: 2\nfaults: [{pool: tpu, down: true}]\n", ":2:1: seed: given twice"),
    ],
)
def test_a_file_that_is_no_fault_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "faults.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        timeline(tmp_path / "faults.yaml", FLEET)
    assert f"faults.yaml{message}" in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.yaml: no such file"):
        timeline(tmp_path / "nowhere.yaml", FLEET)


SPANS = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(1, 6)), st.sampled_from((2.0, 3.0, 5.0))), max_size=6
)


@given(SPANS)
def test_at_every_moment_the_state_is_that_of_the_faults_in_force(spans: list[tuple[int, int | None, float]]) -> None:
    faults = [
        Fault(at=at, until=None if lasts is None else float(at + lasts), pool="p", slow=Slow(factor=factor))
        for at, lasts, factor in spans
    ]
    changes = list(
        _states(list(enumerate(faults)), lambda active: math.prod(f.slow.factor for f in active if f.slow), 1.0)
    )
    for moment in range(20):
        told = next((state for at_s, _, state in reversed(changes) if at_s <= moment), 1.0)
        naive = 1.0
        for at, lasts, factor in spans:
            naive *= factor if at <= moment and (lasts is None or moment < at + lasts) else 1.0
        assert told == naive
    states = [1.0, *(state for _, _, state in changes)]
    assert all(before != after for before, after in pairwise(states))
