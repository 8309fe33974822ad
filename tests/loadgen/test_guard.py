import sys
from pathlib import Path

import pytest

from loadgen.guard import PACKAGES, shadowed


def test_all_is_well_where_our_packages_are_found() -> None:
    assert shadowed() is None


def test_a_module_lying_in_the_way_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "router.py").write_text("")
    monkeypatch.delitem(sys.modules, "router", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    problem = shadowed()
    assert problem is not None
    assert problem.startswith(f"'router' is taken from {tmp_path / 'router.py'}")
    assert "\n" not in problem


def test_packages_installed_elsewhere_are_refused(tmp_path: Path) -> None:
    for name in PACKAGES:
        (tmp_path / name).mkdir()
    assert (shadowed(tmp_path) or "").startswith("'devices' is taken from")
