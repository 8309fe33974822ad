from itertools import takewhile

import numpy as np
import pytest

from loadgen.arrivals import arrivals
from loadgen.mix import WorkloadError
from loadgen.presets import PRESETS, Preset, preset
from loadgen.row import Row
from loadgen.workload import Workload


def rows(named: Preset, requests: int, starts: str = "poisson") -> list[Row]:
    """Poisson, or the mean of a bursty one would need hours."""
    duration_s = requests / named.rate_per_s
    source = named.sessions.rows(named.rate_per_s, starts, 1)
    return list(takewhile(lambda row: row.arrival_s < duration_s, source))


@pytest.mark.parametrize("named", PRESETS.values(), ids=list(PRESETS))
def test_a_preset_keeps_its_rate_and_says_where_its_figures_come_from(named: Preset) -> None:
    assert len(rows(named, 3000)) == pytest.approx(3000, rel=0.15)
    assert all("assumption" in source or "(" in source for source in named.sources)
    arrivals(named.arrivals)


@pytest.mark.parametrize(
    ("name", "prompt_p50", "answer_p50"),
    [
        *(("chat", 1035, 140), ("agentic", 90_000, 200), ("reasoning", 270, 2000)),
        *(("rag", 4100, 250), ("code", 1465, 13), ("batch", 2720, 169)),
    ],
)
def test_lengths_come_out_as_their_sources_say(name: str, prompt_p50: float, answer_p50: float) -> None:
    made = rows(PRESETS[name], 4000)
    assert np.median([row.input_tokens for row in made]) == pytest.approx(prompt_p50, rel=0.1)
    assert np.median([row.output_tokens for row in made]) == pytest.approx(answer_p50, rel=0.1)


def test_an_agents_prompt_is_about_96_000_tokens() -> None:
    assert np.mean([row.input_tokens for row in rows(PRESETS["agentic"], 6000)]) == pytest.approx(96_000, rel=0.05)


def test_a_workload_of_a_preset_ends_with_its_duration_and_repeats() -> None:
    workload = Workload(preset=preset("chat"), rate_per_s=5, duration_s=40, seed=3)
    made = list(workload.rows())
    assert len(made) == pytest.approx(200, rel=0.3)
    assert made[-1].arrival_s < 40
    assert made == list(workload.rows())
    assert list(Workload(preset=preset("chat"), rate_per_s=5, duration_s=20, seed=3).rows()) == [
        row for row in made if row.arrival_s < 20
    ]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(WorkloadError, match="unknown workload 'agent'; did you mean 'agentic'"):
        preset("agent")
