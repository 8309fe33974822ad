"""Fleets as large as the articles' customers have."""

from seed_checks.fleets import carried
from seed_checks.key import Checks


def a_fleet_of_8000_devices_is_registered_and_scheduled() -> None:
    assert carried(1_000, 8, 100) == 100


def a_cluster_of_10000_cards_is_registered_and_scheduled() -> None:
    assert carried(1_250, 8, 100) == 100


CHECKS: Checks = {
    ("002", "GPU buyers", "cluster size"): a_fleet_of_8000_devices_is_registered_and_scheduled,
    ("004", "MTT S5000 KUAE cluster", "size"): a_cluster_of_10000_cards_is_registered_and_scheduled,
}
