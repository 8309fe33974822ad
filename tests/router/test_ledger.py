from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ledger import REASONS, Books, Entry, Ledger, Outcome

ENDS = [(outcome, reason) for outcome in Outcome for reason in sorted(REASONS.get(outcome, {""}))]


def test_a_request_ends_exactly_once() -> None:
    ledger = Ledger()
    with ledger.enter(Entry("a", arrival_s=1.0)) as account:
        account.end(Outcome.COMPLETED, "", 3.0)
        with pytest.raises(Books, match="request a ended as completed, then again as failed"):
            account.end(Outcome.FAILED, "internal", 3.0)
    assert account.entry.e2e_s == 2.0
    assert ledger.ended == {(Outcome.COMPLETED, ""): 1}


def test_leaving_without_an_outcome_is_booked_as_our_own_failure() -> None:
    ledger = Ledger()
    with pytest.raises(RuntimeError, match="boom"), ledger.enter(Entry("a", 0.0)):
        raise RuntimeError("boom")
    assert ledger.ended == {(Outcome.FAILED, "internal"): 1}
    assert ledger.in_flight == 0


@pytest.mark.parametrize(
    ("outcome", "reason"), [(Outcome.COMPLETED, "deadline"), (Outcome.REJECTED, ""), (Outcome.FAILED, "because")]
)
def test_an_outcome_takes_only_its_own_reasons(outcome: Outcome, reason: str) -> None:
    with pytest.raises(Books, match="has no reason"):
        Entry("a", 0.0).ended(outcome, reason, 1.0)


def test_an_id_in_flight_cannot_be_entered_again_but_later_it_can() -> None:
    ledger = Ledger()
    with ledger.enter(Entry("a", 0.0)) as account:
        with pytest.raises(Books, match="already in flight"):
            ledger.enter(Entry("a", 0.0))
        account.end(Outcome.COMPLETED, "", 1.0)
    with ledger.enter(Entry("a", 2.0)) as account:
        account.end(Outcome.COMPLETED, "", 3.0)
    assert ledger.received == 2


def test_tpot_is_the_mean_gap_after_the_first_token() -> None:
    entry = Entry("a", arrival_s=0.0, ttft_s=1.0, output_tokens=11)
    entry.ended(Outcome.COMPLETED, "", 2.0)
    assert entry.tpot_s == pytest.approx(0.1)
    single = Entry("b", arrival_s=0.0, ttft_s=1.0, output_tokens=1)
    single.ended(Outcome.COMPLETED, "", 2.0)
    assert single.tpot_s is None


def test_rejected_requests_are_not_billed_and_all_others_are_once() -> None:
    ledger = Ledger()
    for number, (outcome, reason) in enumerate(ENDS):
        with ledger.enter(Entry(str(number), 0.0, prompt_tokens=7, output_tokens=3, usd=0.5)) as account:
            account.end(outcome, reason, 1.0)
        assert (account.usage is None) == (outcome is Outcome.REJECTED)
    billed = len(ENDS) - len(REASONS[Outcome.REJECTED])
    assert ledger.billed == {"rows": billed, "prompt_tokens": 7 * billed, "output_tokens": 3 * billed}


def test_every_outcome_has_a_report_column() -> None:
    assert {outcome.column for outcome in Outcome} == {"completed", "rejected", "failed", "cancelled"}


def test_only_the_most_recent_entries_are_kept() -> None:
    ledger = Ledger(keep=3)
    for number in range(10):
        with ledger.enter(Entry(str(number), 0.0)) as account:
            account.end(Outcome.COMPLETED, "", 1.0)
    assert list(ledger.recent) == ["7", "8", "9"]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(ENDS)), max_size=50))
def test_the_books_balance_at_every_moment(story: list[tuple[int, tuple[Outcome, str]]]) -> None:
    """A number seen for the first time enters, the second time it ends."""
    ledger = Ledger(keep=2)
    open_: dict[int, Entry] = {}
    for number, (outcome, reason) in story:
        if number in open_:
            ledger.end(open_.pop(number), outcome, reason, 1.0)
        else:
            open_[number] = Entry(str(number), 0.0)
            ledger.enter(open_[number])
        assert all(ledger.invariants().values())
        assert ledger.in_flight == len(open_) == len(list(ledger.open))
