"""`tokenyard devices`: the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.commands import devices_cost, devices_fit, devices_measure, devices_validate
from loadgen.commands.options import AsJson

if TYPE_CHECKING:
    from devices.profile import DeviceProfile

LIST_EXAMPLES = """Examples:

tokenyard devices list --vendor huawei

tokenyard devices list --status announced --json | jq '.[].id'
"""
SHOW_EXAMPLES = """Examples:

tokenyard devices show h200-sxm

tokenyard devices show maia-200 --json | jq .conflicts
"""
COLUMNS = ("id", "vendor", "family", "nature", "status", "serve", "TFLOP/s (bits)", "GB", "GB/s", "W", "USD/chip-h")

PRIOR = "family prior"
"""How the source of a figure begins that nobody published for this very chip."""

app = typer.Typer(no_args_is_help=True, help="The catalogue of accelerators: every figure with its source.")
app.command("cost", epilog=devices_cost.EXAMPLES)(devices_cost.cost)
app.command("fit", epilog=devices_fit.EXAMPLES)(devices_fit.fit)
app.command("validate", epilog=devices_validate.EXAMPLES)(devices_validate.validate)
app.command("measure", epilog=devices_measure.EXAMPLES)(devices_measure.measure)


@app.command("list", epilog=LIST_EXAMPLES)
def list_devices(
    vendor: Annotated[str | None, typer.Option("--vendor", help="Only of this vendor.")] = None,
    family: Annotated[str | None, typer.Option("--family", help="Only of this family: gpu, tpu, asic, lpu ...")] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only shipping, announced, internal ...")] = None,
    as_json: AsJson = False,
) -> None:
    """All devices of the catalogue, roadmap names included."""
    from devices.catalog import device, device_ids
    from loadgen.commands import say

    every = [device(device_id) for device_id in device_ids()]
    _check("vendor", vendor, {profile.vendor for profile in every})
    _check("family", family, {profile.family for profile in every})
    _check("status", status, {profile.status.value for profile in every})
    found = [
        profile
        for profile in every
        if vendor in (None, profile.vendor)
        and family in (None, profile.family)
        and status in (None, profile.status.value)
    ]
    if as_json:
        say.answer_json([_plain(profile) for profile in found])
        return
    say.table(COLUMNS, [_row(profile) for profile in found])
    typer.echo(
        f"{len(found)} devices. serve: yes = measured; flag = projected, a pool needs allow_projected: true or "
        "simulate; no = figures are missing. `tokenyard devices show ID` has every source."
    )


@app.command("show", epilog=SHOW_EXAMPLES)
def show(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="Any spelling: h100-sxm, H100, NVIDIA-H100.")],
    as_json: AsJson = False,
) -> None:
    """One device: every figure with its source, date and confidence, and what sources disagree on."""
    from devices.catalog import device
    from loadgen.commands import say
    from loadgen.figure_text import figure_text

    profile = device(device_id)
    if as_json:
        say.answer_json(_plain(profile))
        return
    for line in _heading(profile):
        typer.echo(line)
    rows = []
    before = None
    for name in _shown(profile):
        told = (profile.sources[name], profile.dates[name], profile.confidences[name])
        beside = ("as above", "", "") if told == before else told
        rows.append((name, figure_text(name, getattr(profile, name)), *beside))
        before = told
    say.table(("figure", "value", "source", "date", "confidence"), rows)
    for conflict in profile.conflicts:
        typer.echo(f"conflict: {conflict}")


def _heading(profile: DeviceProfile) -> list[str]:
    note = f" ({profile.status_note})" if profile.status_note not in ("", profile.status.value) else ""
    lines = [
        f"{profile.name}  [{profile.id}]",
        f"vendor {profile.vendor}, family {profile.family}, nature {profile.nature.value}",
        f"status: {profile.status.value}{note}",
        f"serve: {_serve(profile)}",
        f"also: {', '.join(profile.aliases)}" if profile.aliases else "",
        *(
            f"part: {part.chips} x {part.device.id} for {', '.join(sorted(role.value for role in part.roles))}"
            for part in profile.parts
        ),
        profile.notes,
    ]
    return [line for line in lines if line]


def _serve(profile: DeviceProfile) -> str:
    """Whether, and on what condition, a gateway places real requests on it."""
    if not profile.placeable:
        return f"no, it cannot be placed anywhere: {profile.why_not}"
    if profile.projected:
        return (
            f"only where the pool says allow_projected: true; its timings are projected, within some "
            f"{profile.uncertainty:.0%} (simulate: N needs no permission)"
        )
    api = "; sold as an API only" if profile.api_only else ""
    return f"yes, it was measured; times within some {profile.uncertainty:.0%}{api}"


def _row(profile: DeviceProfile) -> tuple[object, ...]:
    serve = "no" if not profile.placeable else "flag" if profile.projected else "yes"
    best = min(profile.flops_per_s, key=lambda precision: -profile.flops_per_s[precision], default=None)
    rate = f"{profile.flops_per_s[best] / 1e12:,.0f} ({best.bits})" if best else None
    return (
        *(profile.id, profile.vendor, profile.family, profile.nature.value, profile.status.value, serve, rate),
        _held_bytes(profile) / 1e9 or None,
        round(profile.bandwidth_bytes_per_s / 1e9) or None,
        None if profile.sources.get("power_w", PRIOR).startswith(PRIOR) else round(profile.power_w),
        profile.usd_per_chip_hour,
    )


def _shown(profile: DeviceProfile) -> list[str]:
    """Figures in the order of the profile's fields; what its family would lend it only where that is of use."""
    named = (field.name for field in fields(profile) if field.name in profile.sources)
    return [name for name in named if profile.placeable or not profile.sources[name].startswith(PRIOR)]


def _held_bytes(profile: DeviceProfile) -> float:
    """Of the memory that holds the weights."""
    from devices.profile import Nature

    return profile.sram_bytes if profile.nature is Nature.SRAM else profile.memory_bytes


def _check(kind: str, given: str | None, known: set[str]) -> None:
    from devices.catalog import did_you_mean
    from loadgen.finding import Misuse

    if given is not None and given not in known:
        raise Misuse(f"--{kind}: no device of {kind} '{given}'; {did_you_mean(given, known)}")


def _plain(profile: DeviceProfile) -> dict[str, object]:
    plain = {field.name: _value(getattr(profile, field.name)) for field in fields(profile)}
    return plain | {"projected": profile.projected, "serve": _serve(profile)}


def _value(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        inner = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: item.id if name == "device" else _value(item) for name, item in inner.items()}
    if isinstance(value, Mapping):
        return {str(_value(key)): _value(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, map(_value, value)))
    return [_value(item) for item in value] if isinstance(value, tuple) else value
