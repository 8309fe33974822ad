"""Whether a model fits a worker at all, and how much KV cache is left beside its weights."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from devices.profile import DeviceProfile, ModelProfile, Nature, Precision
from devices.worker import Limits

HBM_SHARE = 0.9
"""Of HBM, what an engine takes for weights and KV: vLLM's long-standing default of `gpu_memory_utilization`."""


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
    if precision not in device.flops_per_s:
        raise Infeasible(f"{device.id} does not compute in {precision.value}; {_formats(device, model, kv_precision)}")
    if not _splits(device, model, chips):
        fitting = [n for n in _chip_counts(device, model) if n < chips]
        raise Infeasible(
            f"tp {chips} does not divide the {model.heads} attention heads of {model.id}; "
            f"the next smaller that does is {max(fitting, default=1)}"
        )
    spare = chips * usable_bytes(device) - model.weight_bytes(precision)
    kv_tokens = int(spare // model.kv_bytes(block_size, kv_precision)) * block_size
    if kv_tokens < block_size:
        raise Infeasible(
            f"{model.id} in {precision.value} has {_gb(model.weight_bytes(precision))} of weights, "
            f"{chips} x {device.id} {'holds' if chips == 1 else 'hold'} {_gb(chips * usable_bytes(device))}; "
            f"it needs {_smallest(device, model, precision, kv_precision)}"
        )
    return Limits(
        kv_tokens=kv_tokens,
        max_seqs=max_seqs or device.max_seqs,
        hard_slots=device.nature is Nature.SRAM,
        max_batched_tokens=max_batched_tokens or device.max_batched_tokens,
        max_context_tokens=min(model.max_context_tokens, kv_tokens),
        block_size=block_size,
    )


def usable_bytes(device: DeviceProfile) -> float:
    """Of one chip, for weights and KV. SRAM is planned by a compiler to the last byte; HBM keeps a tenth free."""
    return device.sram_bytes if device.nature is Nature.SRAM else device.memory_bytes * HBM_SHARE


def _splits(device: DeviceProfile, model: ModelProfile, chips: int) -> bool:
    """Tensor parallelism gives each chip whole attention heads; a pipeline of SRAM chips may be cut anywhere."""
    return device.nature is Nature.SRAM or model.heads % chips == 0


def _chip_counts(device: DeviceProfile, model: ModelProfile) -> Iterable[int]:
    return (n for n in range(1, model.heads + 1) if _splits(device, model, n))


def _smallest(device: DeviceProfile, model: ModelProfile, precision: Precision, kv_precision: Precision) -> str:
    """The fewest chips that hold the weights and one block of KV."""
    need = (model.weight_bytes(precision) + model.kv_bytes(16, kv_precision)) / usable_bytes(device)
    if device.nature is Nature.SRAM:
        return f">= {ceil(need)} chips"
    enough = next((n for n in _chip_counts(device, model) if n >= need), None)
    return f"tp >= {enough}" if enough else f"more than its {model.heads} attention heads can be split over"


def _formats(device: DeviceProfile, model: ModelProfile, kv_precision: Precision) -> str:
    """What works instead, format by format."""
    ways = (f"{known.value} ({_smallest(device, model, known, kv_precision)})" for known in device.flops_per_s)
    return f"{model.id} works in {', '.join(ways)}"


def _gb(amount: float) -> str:
    return f"{amount / 1e9:.2f} GB"
