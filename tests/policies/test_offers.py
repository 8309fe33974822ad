"""The vector twin of the quote: whatever the fleet, it leads to the choice of a full scan."""

from __future__ import annotations

from fleets import busy, fleets, requests
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from policies.cost_slo import CostSlo

SETTINGS = settings(max_examples=200, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
"""A fleet is too much to shrink in minutes, and small enough to read."""


@SETTINGS
@given(data=st.data())
def test_pricing_all_pairs_at_once_chooses_what_a_full_scan_chooses(data: st.DataObject) -> None:
    view = data.draw(fleets())
    now = busy(data.draw, view)
    for number in range(3):
        asked = data.draw(requests(1000 + number))
        placed = CostSlo().place(asked, view, now)
        assert placed == CostSlo().scan(asked, view, now)
        if placed is not None:
            view.reserve(asked, placed, now)
