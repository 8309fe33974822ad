"""The page: self-contained, small, and readable whatever the runs were."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import pool, worker
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.gaps import Gaps
from loadgen.page import page
from loadgen.page_figures import BINS, CURVE_POINTS, figures, poured
from loadgen.page_runs import PageRuns
from loadgen.report import Run, report
from loadgen.results import Results
from loadgen.sweeps import Point, Ran
from policies.api import Slo
from router.ledger import Outcome

MOST_BYTES = 1_500_000
CLASSES = {f"class-{number}": Slo(ttft_s=1.0, tpot_s=0.05) for number in range(6)}
FLEET = tuple(worker(f"pool{number}-0", pool(f"pool{number}")) for number in range(8))


def ran(requests: int, seed: int = 1, outcome: Outcome = Outcome.COMPLETED, duration_s: float = 100.0) -> Ran:
    draw = np.random.default_rng(seed)
    results = Results()
    names = list(CLASSES)
    done = outcome is Outcome.COMPLETED
    for _ in range(requests):
        name = names[draw.integers(len(names))]
        ttft_s = draw.exponential(0.5)
        results.append(
            *(draw.uniform(0, duration_s), outcome, name, CLASSES[name]),
            *(ttft_s if done else None, ttft_s + draw.exponential(5.0), 1000, int(done) * 100, 0),
            *((f"pool{draw.integers(8)}-0", f"pool{draw.integers(8)}-0") if done else ("", "")),
            "",
        )
    run = Run("p", results, Gaps(), duration_s, duration_s, FLEET)
    return Ran(report(run), figures(run))


def made(**cells: Ran) -> str:
    """One point per entry, named policy__rate__seed."""
    points = []
    for name in cells:
        policy, _, rest = name.partition("__")
        rate, _, seed = rest.partition("__")
        points.append(Point(Path("fleet.yaml"), float(rate or 1), 1.0, policy, int(seed or 1)))
    return page(PageRuns.of(points, list(cells.values())), "tokenyard simulate <x>")


def elements(text: str) -> ET.Element:
    """Raises for anything that is opened and not closed."""
    body = text.replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', "")
    return ET.fromstring(re.sub(r"<meta [^>]*>", "", body))


def titles(text: str) -> list[str]:
    return [element.text or "" for element in elements(text).iter("text") if element.get("class") == "title"]


SOME = ran(300)
NONE_SERVED = ran(20, outcome=Outcome.REJECTED)


def test_the_page_needs_nothing_but_itself() -> None:
    text = made(a__1=SOME, b__1=SOME)
    assert not re.search(r"https?:|<script|<link|<img|<iframe|@import|url\(|src=", text)
    assert "tokenyard simulate &lt;x&gt;" in text
    assert "prefers-color-scheme:dark" in text


def test_one_run_has_bars_and_several_loads_have_lines_with_bands_over_seeds() -> None:
    one = made(a__1=SOME)
    assert "Promises and money" in one
    assert "band" not in {element.get("class", "").split()[0] for element in elements(one).iter("path")}
    loads = made(a__1__1=SOME, a__1__2=ran(250, 2), a__2__1=ran(280, 3), a__2__2=ran(290, 4))
    assert "Against offered rate" in loads
    assert [element for element in elements(loads).iter("path") if element.get("class", "").startswith("band")]


def test_every_class_and_time_has_a_distribution_with_its_promise() -> None:
    text = made(a__1=SOME)
    assert {f"{time}, {name}" for time in ("TTFT", "TPOT", "E2E") for name in CLASSES} <= set(titles(text))
    assert text.count("promised 1 s") == len(CLASSES)
    assert text.count("promised 50 ms") == len(CLASSES)


def test_a_policy_that_served_nobody_is_still_a_page() -> None:
    text = made(a__1=NONE_SERVED)
    assert "none: no answer kept its promise" in text
    assert "TTFT, class-0" not in titles(text)
    elements(made(a__1=NONE_SERVED, a__2=NONE_SERVED, b__1=SOME, b__2=SOME))


@pytest.mark.slow
def test_many_policies_loads_and_seeds_stay_small() -> None:
    one = ran(3000)
    policies = {
        f"policy-{policy}__{rate}__{seed}": one for rate in range(1, 21) for policy in range(12) for seed in (1, 2)
    }
    text = made(**policies)
    assert len(text.encode()) < MOST_BYTES
    assert "Drawn here: 1 of 20 loads." in text
    wide = made(**{f"policy-{policy}__1__1": one for policy in range(60)})
    assert len(wide.encode()) < MOST_BYTES
    assert "of 60 policies." in wide


def test_the_size_of_a_curve_does_not_grow_with_requests() -> None:
    drawn = SOME.figures
    assert drawn is not None
    assert all(len(curve.seconds) <= CURVE_POINTS for curves in drawn.curves.values() for curve in curves.values())
    assert drawn.prompt_tokens_per_s.shape == drawn.output_tokens_per_s.shape == (8, BINS)


def test_what_was_rejected_keeps_a_curve_from_the_top() -> None:
    results = Results()
    for number in range(10):
        outcome = Outcome.REJECTED if number < 4 else Outcome.COMPLETED
        times = (None, 0.1) if number < 4 else (float(number), number + 1.0)
        results.append(0.0, outcome, "chat", Slo(ttft_s=2.0), *times, 10, 11, 0, "a-0", "a-0", "")
    drawn = figures(Run("p", results, Gaps(), 1.0, 20.0))
    ttft, tpot = drawn.curves["chat"]["ttft_s"], drawn.curves["chat"]["tpot_s"]
    assert (ttft.share, ttft.seconds, ttft.promises_s) == (0.6, (4.0, 5.0, 6.0, 7.0, 8.0, 9.0), (2.0,))
    assert tpot.share == 1.0  # of the answers that have one


def test_tokens_drawn_are_the_tokens_reported() -> None:
    drawn, told = SOME.figures, SOME.report
    assert drawn is not None
    # some answers of the last seconds end after the end of the axis
    assert drawn.prompt_tokens_per_s.sum() * drawn.bin_s == pytest.approx(told["prompt_tokens"], rel=0.02)
    assert drawn.output_tokens_per_s.sum() * drawn.bin_s == pytest.approx(told["output_tokens"], rel=0.08)
    assert sum(map(sum, drawn.requests)) == told["completed"]


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.sampled_from([0.0, 0.5, 3.0]), st.integers(0, 50)), min_size=1, max_size=20)
)
def test_what_is_poured_from_start_to_end_is_there_bin_by_bin(amounts: list[tuple[float, float, int]]) -> None:
    edges_s = np.linspace(0.0, 12.0, 25)
    start_s = np.array([start for start, _, _ in amounts])
    lasting_s = np.array([lasting for _, lasting, _ in amounts])
    amount = np.array([amount for _, _, amount in amounts], dtype=float)
    naive = np.zeros(24)
    for start, lasting, poured_ in amounts:
        for number in range(24):
            low, high = edges_s[number], edges_s[number + 1]
            if lasting:
                naive[number] += poured_ * max(0.0, min(high, start + lasting) - max(low, start)) / lasting
            elif low <= start < high:
                naive[number] += poured_
    assert poured(start_s, start_s + lasting_s, amount, edges_s) == pytest.approx(naive, abs=1e-6)


def test_fleets_are_told_apart_only_where_there_are_several() -> None:
    points = [Point(Path("x/fleet.yaml"), 1.0, 1.0, "a", 1), Point(Path("y/fleet.yaml"), 1.0, 1.0, "a", 1)]
    both = PageRuns.of(points, [SOME, SOME])
    assert [both.name(number) for number in (0, 1)] == ["x/fleet.yaml · a", "y/fleet.yaml · a"]
    assert PageRuns.of(points[:1], [SOME]).name(0) == "a"
    assert PageRuns.of([points[0], replace(points[1], config=Path("big.yaml"))], [SOME, SOME]).name(1) == "big · a"
