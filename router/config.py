"""Reads a fleet file. Every complaint is one line: `file:line:col: where: what, what next`."""

from __future__ import annotations

from pathlib import Path

from router.complaints import raise_located, validated
from router.config_checks import problems
from router.config_notices import files, notices
from router.located import ConfigError, Document, text, where
from router.schema import Config

__all__ = ["Config", "ConfigError", "load", "located", "notices", "read_secret", "unreadable"]


def load(path: str | Path) -> Config:
    """Read and check a fleet file; raises `ConfigError` with all problems found."""
    file = Path(path)
    document = Document(str(path), text(file))
    config = validated(document, Config, "a mapping with models and pools", {"folder": file.parent})
    raise_located(document, problems(config))
    return config


def located(path: str | Path, error: ConfigError) -> ConfigError:
    """A problem found after loading, with its place in front; as it is where it has none."""
    if not error.loc:
        return error
    try:
        place = Document(str(path), text(Path(path))).at(error.loc)
    except ConfigError:  # the file has changed since it was loaded
        place = str(path)
    return ConfigError(f"{place}: {where(error.loc)}: {error}")


def unreadable(path: str | Path, config: Config) -> list[str]:
    """Located lines on files that `serve` needs and this process cannot read. The fleet file itself is sound."""
    found = []
    for loc, file in files(config):
        try:
            file.read_bytes()
        except OSError as error:
            what = f"{file}: {(error.strerror or str(error)).lower()}; `serve` needs it"
            found.append(str(located(path, ConfigError(what, loc))))
    return found


def read_secret(path: Path) -> str:
    """The one line of a key or token file, without its line end; raises `ConfigError`."""
    secret = text(path).strip()
    if not secret or len(secret.split()) != 1:
        raise ConfigError(f"{path}: expected one key on one line")
    return secret
