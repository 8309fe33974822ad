"""Whether a model fits a worker at all, and how much KV cache is left beside its weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import ceil

from devices.formats import Gain, checkpoint_problem, kept_formats, weight_format
from devices.natures.composite import part_for, splits_layers
from devices.profile import DeviceProfile, ModelProfile, Nature, Part, Precision, Role
from devices.roofline import experts_read, kv_copies, split
from devices.worker import Limits

HBM_SHARE = 0.9
"""Of HBM or DRAM, what an engine takes for weights and KV: vLLM's long-standing default of `gpu_memory_utilization`."""
STATE_SHARE = 0.5
"""Our choice: of what is free beside the weights, what the fixed states of all sequences may take at most."""
MOST_UNITS = 64
"""Units of a composite device tried for the smallest that works."""
PADS_HEADS = frozenset({"aws"})
"""Vendors whose engine pads attention heads to a multiple of the split (Neuron), where others refuse."""


class Infeasible(ValueError):
    """No such worker can exist; the message holds the figures and the smallest configuration that works."""


def limits(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    max_seqs: int | None = None,
    max_batched_tokens: int | None = None,
    block_size: int = 16,
) -> Limits:
    """What fits on one worker of `chips` chips; raises `Infeasible`. KV is counted in whole blocks."""
    _check_known(device, model)
    if device.nature is Nature.COMPOSITE:
        found = _composite_limits(device, model, chips, precision, kv_precision, block_size)
    else:
        _check_format(device, model, precision, kv_precision)
        _check_cut(device, model, chips, precision, kv_precision)
        found = _memory_limits(device, model, chips, precision, kv_precision, max_seqs, block_size)
    return replace(
        found,
        max_seqs=max_seqs or min(found.max_seqs, device.max_seqs),
        max_batched_tokens=max_batched_tokens or device.max_batched_tokens,
    )


def wide_limits(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    block_size: int = 16,
) -> Limits:
    """What fits where every chip holds all of attention and its part of the experts; raises `Infeasible`.

    A sequence lives on one chip, and batch and token budget of an engine are those of a chip.
    """
    _check_known(device, model)
    _check_format(device, model, precision, kv_precision)
    if device.nature is not Nature.HBM or not 1 < chips <= model.experts:
        most = f"2 to {model.experts}" if model.experts > 1 else "no"
        raise Infeasible(f"{chips} x {device.id}: the experts of {model.id} spread over {most} GPUs")
    dense, experts = experts_read(model)
    weights = (dense + experts / chips) * precision.weight_bytes
    spare = usable_bytes(device) - weights
    seqs = _sequences(device, model, spare, None)
    kv_tokens = _kv_tokens(model, kv_precision, spare - seqs * model.state_bytes_per_sequence, seqs, block_size)
    if kv_tokens < block_size or not seqs:
        raise Infeasible(
            f"spread over {chips} x {device.id}, {model.id} in {precision.value} has {_gb(weights)} of weights "
            f"on each, a chip holds {_gb(usable_bytes(device))}; more chips hold fewer experts each"
        )
    return Limits(
        kv_tokens=kv_tokens * chips,
        max_seqs=seqs * chips,
        hard_slots=False,
        max_batched_tokens=device.max_batched_tokens * chips,
        max_context_tokens=min(model.max_context_tokens, kv_tokens),
        block_size=block_size,
    )


def usable_bytes(device: DeviceProfile) -> float:
    """Of one chip, for weights and KV. SRAM is planned by a compiler to the last byte; HBM keeps a tenth free."""
    return device.sram_bytes if device.nature is Nature.SRAM else device.memory_bytes * HBM_SHARE


def fewest_chips(
    device: DeviceProfile, model: ModelProfile, precision: Precision, kv_precision: Precision
) -> int | None:
    """The smallest worker that holds weights, one block of KV and one sequence's state; None if there is none."""
    if device.nature is Nature.COMPOSITE:
        return next((n for n in range(1, MOST_UNITS + 1) if _holds(device, model, n, precision, kv_precision)), None)
    if device.nature is Nature.SRAM and not device.slice_chips:
        return ceil(_need_bytes(device, model, 1, precision, kv_precision) / usable_bytes(device))
    return next((n for n in _counts(device, model) if _fits(device, model, n, precision, kv_precision)), None)


def _check_known(device: DeviceProfile, model: ModelProfile) -> None:
    for what in (device, model):
        if not what.placeable:
            raise Infeasible(f"{what.id} cannot be placed: {what.why_not}")
    reason = model.vendors_unavailable.get(device.vendor)
    if reason:
        raise Infeasible(f"{model.id} is not to be had on chips of {device.vendor}: {reason}")


def _check_format(device: DeviceProfile, model: ModelProfile, precision: Precision, kv_precision: Precision) -> None:
    found = weight_format(device, precision)
    if found.gain is Gain.NONE:
        raise Infeasible(f"{device.id} {found.why}; {_alternatives(device, model, kv_precision)}")
    problem = checkpoint_problem(device, model, precision)
    if problem:
        raise Infeasible(f"{problem}; converted, {_alternatives(device, model, kv_precision, without=precision)}")


def _check_cut(
    device: DeviceProfile, model: ModelProfile, chips: int, precision: Precision, kv_precision: Precision
) -> None:
    if device.slice_chips and chips not in device.slice_chips:
        known = ", ".join(map(str, device.slice_chips))
        smallest = _smallest(device, model, precision, kv_precision)
        raise Infeasible(f"{chips} chips are no slice of {device.id} (slices: {known}); {model.id} needs {smallest}")
    if not _divides(device, model, chips):
        ways, dies = split(device, chips), device.devices_per_chip
        cut = f"tp {ways}" if dies == 1 else f"tp {ways} ({chips} chips of {dies} dies)"
        fitting = max((n for n in _counts(device, model) if n < chips), default=None)
        nearest = f"the next smaller that does is {fitting}" if fitting else "no smaller one does"
        raise Infeasible(
            f"{cut} does not divide the {model.heads} attention heads of {model.id}; {nearest}, "
            f"the model needs {_smallest(device, model, precision, kv_precision)}"
        )


def _memory_limits(
    device: DeviceProfile,
    model: ModelProfile,
    chips: int,
    precision: Precision,
    kv_precision: Precision,
    max_seqs: int | None,
    block_size: int,
) -> Limits:
    spare = chips * usable_bytes(device) - model.weight_bytes(precision)
    seqs = _sequences(device, model, spare, max_seqs)
    copies = kv_copies(device, model, chips)
    left = spare - seqs * model.state_bytes_per_sequence
    kv_tokens = _kv_tokens(model, kv_precision, left / copies, seqs, block_size)
    if kv_tokens < block_size or not seqs:
        smallest = _smallest(device, model, precision, kv_precision)
        raise Infeasible(
            f"{model.id} in {precision.value} has {_gb(model.weight_bytes(precision))} of weights"
            f"{_state_clause(model, seqs)}, {chips} x {device.id} {'holds' if chips == 1 else 'hold'} "
            f"{_gb(chips * usable_bytes(device))}; it needs {smallest}{_fewer_clause(model, spare, seqs)}"
        )
    return Limits(
        kv_tokens=kv_tokens,
        max_seqs=seqs,
        hard_slots=device.nature is Nature.SRAM,
        max_batched_tokens=device.max_batched_tokens,
        max_context_tokens=min(model.max_context_tokens, kv_tokens),
        block_size=block_size,
    )


def _sequences(device: DeviceProfile, model: ModelProfile, spare: float, max_seqs: int | None) -> int:
    """Sequences whose fixed states are set aside: as many as asked for, by default as many as half the room holds."""
    state = model.state_bytes_per_sequence
    if not state or max_seqs:
        return max_seqs or device.max_seqs
    return max(min(device.max_seqs, int(spare * STATE_SHARE // state)), 0)


def _kv_tokens(model: ModelProfile, kv_precision: Precision, room: float, seqs: int, block_size: int) -> int:
    """Tokens that fit whatever the lengths: all layers grow, or windowed layers are full for every sequence."""
    token = model.kv_bytes(1, kv_precision)
    growing = token
    if model.layers_windowed:
        growing -= model.kv_bytes_per_token * kv_precision.bits / 16 * model.layers_windowed / model.layers
    blocks = int(room // (token * block_size))
    if growing < token:
        beyond = room - seqs * model.window_tokens * (token - growing)
        blocks = max(blocks, int(beyond // (growing * block_size)))
    return blocks * block_size


def _composite_limits(
    device: DeviceProfile, model: ModelProfile, units: int, precision: Precision, kv_precision: Precision, block: int
) -> Limits:
    """Every part must hold what its roles need; the cache lies where decode reads it."""
    try:
        for part in device.parts:
            _check_part(part, model, units, precision, kv_precision)
        cache = part_for(device, Role.ATTENTION if splits_layers(device) else Role.DECODE)
        return limits(cache.device, model, units * cache.chips, precision, kv_precision, block_size=block)
    except Infeasible as error:
        smallest = _smallest(device, model, precision, kv_precision)
        raise Infeasible(
            f"{units} x {device.id} does not work, for of its parts: {error}; as a whole it needs {smallest}"
        ) from None


def _check_part(part: Part, model: ModelProfile, units: int, precision: Precision, kv_precision: Precision) -> None:
    """Raises `Infeasible`. A part that only multiplies by the weights needs no room for KV.

    It must hold all of them here, though those of attention could stay with the other part.
    """
    chips = units * part.chips
    if part.roles != {Role.FFN}:
        limits(part.device, model, chips, precision, kv_precision)
        return
    _check_format(part.device, model, precision, kv_precision)
    held, weights = chips * usable_bytes(part.device), model.weight_bytes(precision)
    if held < weights:
        raise Infeasible(
            f"{model.id} in {precision.value} has {_gb(weights)} of weights, "
            f"{chips} x {part.device.id} hold {_gb(held)}"
        )


def _holds(device: DeviceProfile, model: ModelProfile, units: int, precision: Precision, kv: Precision) -> bool:
    try:
        for part in device.parts:
            _check_part(part, model, units, precision, kv)
    except Infeasible:
        return False
    return True


def _fits(device: DeviceProfile, model: ModelProfile, chips: int, precision: Precision, kv: Precision) -> bool:
    return chips * usable_bytes(device) >= _need_bytes(device, model, chips, precision, kv)


def _need_bytes(device: DeviceProfile, model: ModelProfile, chips: int, precision: Precision, kv: Precision) -> float:
    """Weights, one block of KV and room for one sequence's state."""
    cache = model.kv_bytes(16, kv) * kv_copies(device, model, chips)
    return model.weight_bytes(precision) + cache + model.state_bytes_per_sequence / STATE_SHARE


def _divides(device: DeviceProfile, model: ModelProfile, chips: int) -> bool:
    """Tensor parallelism gives each die whole attention heads; a pipeline of SRAM chips may be cut anywhere."""
    if device.nature is Nature.SRAM or device.vendor in PADS_HEADS:
        return True
    return model.heads % split(device, chips) == 0


def _counts(device: DeviceProfile, model: ModelProfile) -> Iterable[int]:
    """Numbers of chips a worker may have, ascending."""
    most = range(1, model.heads // device.devices_per_chip + 1)
    return (n for n in device.slice_chips or most if _divides(device, model, n))


def _smallest(device: DeviceProfile, model: ModelProfile, precision: Precision, kv_precision: Precision) -> str:
    """The smallest worker that works, in the words of the device."""
    enough = fewest_chips(device, model, precision, kv_precision)
    if device.nature is Nature.COMPOSITE:
        return f">= {enough} units" if enough else f"what no number of units up to {MOST_UNITS} gives"
    if enough:
        return f">= {enough} chips" if device.nature is Nature.SRAM or device.slice_chips else f"tp >= {enough}"
    if device.slice_chips:
        return f"more than the largest slice, {device.slice_chips[-1]} chips"
    return f"more than its {model.heads} attention heads can be split over"


def _alternatives(
    device: DeviceProfile, model: ModelProfile, kv_precision: Precision, without: Precision | None = None
) -> str:
    """What works instead, format by format."""
    known = (precision for precision in kept_formats(device) if precision is not without)
    ways = (f"{precision.value} ({_smallest(device, model, precision, kv_precision)})" for precision in known)
    return f"{model.id} works in {', '.join(ways)}"


def _state_clause(model: ModelProfile, seqs: int) -> str:
    state = model.state_bytes_per_sequence
    return f" and {_gb(state)} of state for each of {max(seqs, 1)} sequences" if state else ""


def _fewer_clause(model: ModelProfile, spare: float, seqs: int) -> str:
    """The other way out where states are what does not fit."""
    state = model.state_bytes_per_sequence
    most = int(spare * STATE_SHARE // state) if state else 0
    return f", or at most {most} sequences" if 0 < most < seqs else ""


def _gb(amount: float) -> str:
    return f"{amount / 1e9:.2f} GB"
