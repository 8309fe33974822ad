"""From a fleet file to a fleet, with every complaint at its place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from router.config import Config, ConfigError, located
from router.layout import Layout, layout


def laid_out(file: Path, config: Config, urls: Mapping[str, Sequence[str]] | None = None) -> Layout:
    """The layout of a loaded file; raises `ConfigError` where a host name does not resolve."""
    try:
        return layout(config, urls)
    except ConfigError as error:
        raise located(file, error) from None
