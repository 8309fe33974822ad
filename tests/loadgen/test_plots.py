"""Scales, ticks and figures as people read them."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.plots import Panel, Scale, count_text, linear_ticks, log_ticks, rounded_up, seconds_text, spread_text
from loadgen.plots_bars import Bar, bars
from loadgen.plots_flow import flow


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_linear_ticks_are_inside_evenly_spaced_and_neither_few_nor_many(low: float, width: float) -> None:
    ticks = linear_ticks(low, low + width)
    assert 2 <= len(ticks) <= 11
    slack = 1e-6 * max(width, abs(low))
    assert low - slack <= ticks[0] < ticks[-1] <= low + width + slack


@given(st.floats(1e-6, 1e3), st.floats(1.5, 1e9))
def test_log_ticks_are_inside_and_not_many(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) <= 9
    assert all(low * 0.99 <= tick <= low * ratio * 1.01 for tick in ticks)


@given(st.floats(1e-9, 1e9))
def test_the_top_of_an_axis_is_a_little_above_what_is_drawn(value: float) -> None:
    assert value < rounded_up(value) <= value * 1.6


def test_a_scale_maps_ends_to_ends_and_clips_what_is_off_the_paper() -> None:
    linear, log = Scale((0, 10), (100, 200)), Scale((1, 100), (200, 100), log=True)
    assert [linear.at(value) for value in (-5, 0, 5, 10, 99)] == [100, 100, 150, 200, 200]
    assert [log.at(value) for value in (0, 1, 10, 100)] == pytest.approx([200, 200, 150, 100])


def test_figures_carry_their_unit() -> None:
    assert [seconds_text(value) for value in (0, 2e-5, 0.02, 1.5, 90, 600)] == [
        *("0 s", "20 µs", "20 ms", "1.5 s", "90 s", "10 min")
    ]
    assert [count_text(value) for value in (0, 12, 999.9, 1500, 2.5e6)] == ["0", "12", "1k", "1.5k", "2.5M"]
    assert spread_text(1.2345, 0.123, seconds_text) == "1.23 s ± 120 ms"


def panel() -> Panel:
    return Panel.of("a <title>", (0, 10), (0, 1), "x", count_text, count_text)


def path_of(made: Panel) -> str:
    drawn = [
        element for element in ET.fromstring(made.svg()).iter("path") if element.get("class", "").startswith("line")
    ]
    return drawn[0].get("d", "")


def test_a_line_leaves_out_points_that_nobody_could_tell_apart() -> None:
    made = panel()
    made.line([(value / 1e5, 0.5) for value in range(100_001)], 0, "p")
    assert len(path_of(made)) < 12_000
    assert path_of(made).startswith("M54 ")


def test_series_differ_in_more_than_colour() -> None:
    dashes = set()
    for number in range(5):
        made = panel()
        made.line([(0, 0), (10, 1)], number, "p")
        dashes.add(ET.fromstring(made.svg()).findall("path")[1].get("stroke-dasharray"))
    assert len(dashes) == 5


def test_names_are_text_not_markup() -> None:
    made = panel()
    made.line([(0, 0), (10, 1)], 0, "<script>&")
    for svg in (made.svg(), bars("<b>", [Bar("<i>", 0, 1.0, None)], count_text), flow("<u>", ["<s>"], [[3]])):
        assert "script" not in {element.tag for element in ET.fromstring(svg).iter()}
        assert not {"b", "i", "u", "s"} & {element.tag for element in ET.fromstring(svg).iter()}


def test_a_bar_without_a_figure_says_so() -> None:
    svg = bars("USD", [Bar("a", 0, None, None), Bar("b", 1, 2.0, 0.5)], count_text)
    assert "none: no answer kept its promise" in svg
    assert "2 ± 0.5" in svg


def test_bands_of_a_flow_are_as_wide_as_requests_are_many() -> None:
    svg = ET.fromstring(flow("flow", ["a", "b", "idle"], [[30, 10, 0], [0, 60, 0], [0, 0, 0]]))
    boxes = [(float(box.get("y", 0)), float(box.get("height", 0))) for box in svg.iter("rect")]
    assert len(boxes) == 4  # two that prefilled, two that decoded; the idle pool is not drawn
    assert boxes[1][1] / boxes[0][1] == pytest.approx(60 / 40, rel=0.02)
    assert boxes[3][1] / boxes[2][1] == pytest.approx(70 / 30, rel=0.02)
    assert all(y + height < 236 for y, height in boxes)
    assert math.isclose(sum(height for _, height in boxes[:2]), sum(height for _, height in boxes[2:]), abs_tol=0.2)
