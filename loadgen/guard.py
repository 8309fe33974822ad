"""Start-up guard: our packages have common names, so make sure that Python found ours and not a file lying around."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("devices", "policies", "router", "loadgen")


def shadowed(root: Path | None = None) -> str | None:
    """What is in the way and what to do about it, in one line; None when all is well.

    `root` is the folder our packages were installed to: that of this one.
    """
    root = root or Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found != root / name / "__init__.py":
            where = found or (next(iter(spec.submodule_search_locations or ()), "?") if spec else "nowhere")
            return (
                f"'{name}' is taken from {where}, not from {root / name}; start the console script `tokenyard`, "
                "or clear PYTHONPATH, or rename what is in the way"
            )
    return None
