"""`tokenyard devices`: the catalogue."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from devices.profile import DeviceProfile

app = typer.Typer(no_args_is_help=True, help="The catalogue of accelerators: every figure with its source.")


@app.command("list", epilog="Example: tokenyard devices list --json | jq '.[].id'")
def list_devices(as_json: AsJson = False) -> None:
    """All devices of the catalogue."""
    from devices.catalog import device, device_ids
    from loadgen.commands import say

    profiles = [device(device_id) for device_id in device_ids()]
    if as_json:
        say.answer_json([_plain(profile) for profile in profiles])
        return
    columns = ("id", "vendor", "family", "nature", "status", "memory GB", "GB/s", "W", "USD/chip-h")
    rows = [
        (
            *(profile.id, profile.vendor, profile.family, profile.nature.value, profile.status),
            (profile.memory_bytes or profile.sram_bytes) / 1e9,
            profile.bandwidth_bytes_per_s / 1e9,
            profile.power_w,
            profile.usd_per_chip_hour,
        )
        for profile in profiles
    ]
    say.table(columns, rows)


@app.command("show", epilog="Example: tokenyard devices show h200-sxm")
def show(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="As in `tokenyard devices list`.")],
    as_json: AsJson = False,
) -> None:
    """One device: every figure with the source it was taken from."""
    from devices.catalog import device
    from loadgen.commands import say

    profile = device(device_id)
    plain = _plain(profile)
    if as_json:
        say.answer_json(plain)
        return
    rows = [
        (name, _text(value), profile.sources.get(name, ""))
        for name, value in plain.items()
        if name not in ("sources", "notes") and value not in (None, [], "")
    ]
    say.table(("figure", "value", "source"), rows)
    if profile.notes:
        typer.echo(profile.notes)


def _plain(profile: DeviceProfile) -> dict[str, object]:
    return {field.name: _value(getattr(profile, field.name)) for field in fields(profile)}


def _value(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {str(_value(key)): _value(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
