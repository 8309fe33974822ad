from __future__ import annotations

import orjson
import pytest
from builders import fleet, request, worker
from hypothesis import given
from stories import STORIES, Story, mixed_fleet, play

from policies.cost_slo import CostSlo
from policies.round_robin import RoundRobin
from router.journal import Journal, replay
from router.scheduler import Scheduler


@given(story=STORIES)
def test_a_replayed_journal_gives_the_same_decisions(story: Story) -> None:
    lines: list[bytes] = []
    play(Journal(mixed_fleet(), CostSlo(), write=lines.append), story)
    decisions, differences = replay(Scheduler(mixed_fleet(), CostSlo()), lines)
    assert differences == []
    assert decisions == sum(len(orjson.loads(line)["decisions"]) for line in lines)


def test_another_policy_differs_and_the_line_is_named() -> None:
    lines: list[bytes] = []
    journal = Journal(mixed_fleet(), RoundRobin(), write=lines.append)
    journal.submit(request("a"), 0.0)
    journal.submit(request("b"), 0.0)
    journal.submit(request("c"), 0.0)
    _, differences = replay(Scheduler(fleet(worker("other")), RoundRobin()), lines)
    assert differences[0].startswith("line 1: was [['a', 1, 'g-0', 'g-0',")


def test_prefilled_progress_and_rejections_are_recorded_too() -> None:
    lines: list[bytes] = []
    journal = Journal(mixed_fleet(), RoundRobin(), write=lines.append)
    journal.submit(request("a"), 0.0)
    journal.prefilled("a", 1, 1.0)
    journal.progress("a", 1, 64, 2.0)
    journal.submit(request("b", model_name="unknown"), 3.0)
    assert [orjson.loads(line)["event"] for line in lines] == ["submit", "prefilled", "progress", "submit"]
    assert orjson.loads(lines[-1])["decisions"] == [["b", 1, "no_worker"]]
    assert replay(Scheduler(mixed_fleet(), RoundRobin()), lines) == (2, [])


def test_an_unknown_event_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown event 'nap' in the journal"):
        replay(Scheduler(mixed_fleet(), RoundRobin()), [b'{"event": "nap", "now": 1.0, "decisions": []}'])
