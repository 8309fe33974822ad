"""How a row of the claims is found again."""

from collections.abc import Callable

Key = tuple[str, str, str]
"""Number of the article, subject, quantity."""
Checks = dict[Key, Callable[[], None]]


def near(found: float, stated: float, within: float = 0.005) -> None:
    """A stated figure is met to `within` of itself: half a per cent is the rounding of three digits."""
    assert abs(found - stated) <= within * abs(stated), f"{found:g} is not {stated:g}"
