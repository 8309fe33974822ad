"""Random fleets under random load, every nature of device among them."""

from __future__ import annotations

from builders import SteadyPredictor

from devices.catalog import device, model
from devices.natures.choice import predictor
from devices.natures.remote import RemotePredictor
from devices.profile import Precision
from devices.worker import ApiPrice, Predictor

SHAPE = "llama-3.1-70b"


def _built(device_id: str, model_id: str, chips: int, precision: Precision) -> Predictor:
    return predictor(device(device_id), model(model_id), chips, precision, Precision.FP16)


PREDICTORS: dict[str, Predictor] = {
    "gpu": _built("h200-sxm", SHAPE, 4, Precision.FP8),
    "gpu of a mixture": _built("h200-sxm", "deepseek-v3", 8, Precision.FP8),
    "gpu with windows": _built("h200-sxm", "gpt-oss-120b", 2, Precision.FP4),
    "tier": _built("maia-200", SHAPE, 8, Precision.FP8),
    "tpu": _built("tpu-v6e", SHAPE, 8, Precision.BF16),
    "sram": _built("groq-lpu-v1", SHAPE, 576, Precision.INT8),
    "cpu": _built("xeon-6980p", SHAPE, 2, Precision.INT8),
    "rack": _built("vera-rubin-lpx", SHAPE, 8, Precision.FP8),
    "unknown to tables": SteadyPredictor(1e-5, 0.004),
}
PRICES = (ApiPrice(0.59, 0.79), ApiPrice(0.15, 1.0))
API = RemotePredictor(0.3, 0.008, slope_per_sequence=0.05, concurrency=3)
