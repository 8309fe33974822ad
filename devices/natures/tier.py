"""A large on-chip memory beside HBM that software places data in, as on Maia 200."""

from __future__ import annotations

from dataclasses import dataclass

from devices.profile import DeviceProfile

PLACED_SHARE = 0.5
"""Assumption: half of the on-chip memory holds weights and KV, the rest is working space for tiles in flight."""


@dataclass(frozen=True, slots=True)
class Tier:
    """What the tier saves. Weights that every token reads go in first, as every step reads them; KV gets the rest.

    Attributes:
        weights_s: saved in every step.
        kv_tokens: tokens of KV that lie on the chip.
        kv_s: saved for each of them that a step reads.
    """

    weights_s: float
    kv_tokens: float
    kv_s: float

    @classmethod
    def of(cls, device: DeviceProfile, chips: int, weight_bytes: float, kv_bytes_per_token: float) -> Tier | None:
        """None where there is no such memory, or none whose bandwidth is known to beat the one beside it."""
        slow = device.bandwidth_bytes_per_s * device.bandwidth_efficiency
        fast = device.sram_bytes_per_s * device.bandwidth_efficiency
        if not device.sram_bytes or fast <= slow:
            return None
        saved_s_per_byte = (1 / slow - 1 / fast) / chips
        room = chips * device.sram_bytes * PLACED_SHARE
        placed = min(room, weight_bytes)
        kv_tokens = (room - placed) / kv_bytes_per_token if kv_bytes_per_token else 0.0
        return cls(placed * saved_s_per_byte, kv_tokens, kv_bytes_per_token * saved_s_per_byte)

    def saved_s(self, kv_tokens: float) -> float:
        """Saved by the part of the cache that lies in the tier."""
        return self.kv_s * (kv_tokens if kv_tokens < self.kv_tokens else self.kv_tokens)
