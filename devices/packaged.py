"""YAML files that ship with the package."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def read(path: str) -> dict[str, Any]:
    """A file of `devices/catalog/`, parsed once."""
    text = (resources.files("devices") / "catalog" / path).read_text("utf-8")
    entry: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return entry
