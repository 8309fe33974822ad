import pytest

from devices.prices.week_hours import WeekHours

SATURDAY, SUNDAY = 6, 7


def test_a_window_covers_its_hours_on_its_days_only() -> None:
    hours = WeekHours.of(["09:00-12:00"], [1, 3])
    assert hours.intervals == ((9.0, 12.0), (57.0, 60.0))
    assert 9.0 in hours
    assert 11.99 in hours
    assert 12.0 not in hours
    assert 33.0 not in hours


def test_a_window_that_ends_before_it_starts_ends_on_the_next_day() -> None:
    assert WeekHours.of(["16:30-00:30"], [1]).intervals == ((16.5, 24.5),)


def test_a_window_that_begins_and_ends_at_one_hour_is_the_whole_day() -> None:
    assert WeekHours.of(["00:00-00:00"], [SATURDAY, SUNDAY]).intervals == ((120.0, 168.0),)


def test_a_window_runs_on_from_sunday_into_monday() -> None:
    hours = WeekHours.of(["22:00-02:00"], [SUNDAY])
    assert hours.intervals == ((0.0, 2.0), (166.0, 168.0))
    assert 1.0 in hours
    assert 167.0 in hours
    assert 169.0 in hours  # the week begins anew


def test_windows_that_touch_or_overlap_become_one() -> None:
    assert WeekHours.of(["00:00-06:00", "04:00-10:00", "10:00-12:00"], [1]).intervals == ((0.0, 12.0),)
    assert (WeekHours(((0.0, 5.0),)) | WeekHours(((3.0, 8.0),))).intervals == ((0.0, 8.0),)


def test_the_share_of_the_week_is_its_hours_over_168() -> None:
    assert WeekHours.of(["00:00-12:00"]).share == pytest.approx(0.5)
    assert WeekHours(()).share == 0
