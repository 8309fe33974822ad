from pathlib import Path

import pytest

from devices.profile import Precision
from devices.worker import Link, Phase
from loadgen.finding import Misuse
from loadgen.worker_options import configured, links, phases, precision
from router.config import load
from router.layout import layout

DEMO = Path(__file__).parents[2] / "loadgen" / "data" / "demo.yaml"


def test_a_worker_of_a_fleet_file_is_what_the_gateways_layout_says() -> None:
    """The gateway predicts with the layout; a worker that were anything else would make every quote wrong."""
    laid_out = layout(load(DEMO))
    for worker in laid_out.workers:
        pool = worker.pool
        index = int(worker.name.rpartition("-")[2])
        options = configured(DEMO, pool.name, index, "127.0.0.1", 0, 2.0)
        assert options.name == worker.name
        assert pool.device is not None
        assert pool.shape is not None
        assert (options.device, options.model, options.chips) == (pool.device.id, pool.shape.id, pool.chips)
        assert (options.precision or pool.shape.native_precision, options.kv_precision) == (
            pool.precision,
            pool.kv_precision,
        )
        assert (options.phases, options.engine, options.served_model) == (pool.phases, pool.engine, pool.model)
        assert options.speed == 2.0


def test_a_decode_worker_knows_its_inbound_links() -> None:
    assert list(configured(DEMO, "mi355x", 0, "h", 0, 1.0).links) == ["h200"]
    assert configured(DEMO, "h200", 0, "h", 0, 1.0).links == {}


@pytest.mark.parametrize("pool", [None, "h20", "nothing"])
def test_an_unknown_pool_is_a_misuse_with_a_hint(pool: str | None) -> None:
    with pytest.raises(Misuse, match=r"demo\.yaml: --pool .*(did you mean 'h200'|known: h200)"):
        configured(DEMO, pool, 0, "h", 0, 1.0)


def test_words_of_the_command_line_become_values() -> None:
    assert precision("fp8", "--precision") is Precision.FP8
    assert phases("prefill, decode") == frozenset(Phase)
    assert phases("decode") == {Phase.DECODE}
    assert links(["h200=50,0.0005,0.000002", "b=1"]) == {
        "h200": Link(50e9, 0.0005, 0.000002),
        "b": Link(1e9),
    }


@pytest.mark.parametrize("text", ["", "h200", "=5", "h200=", "h200=x", "h200=0", "h200=1,2,3,4", "h200=-1", "h200=nan"])
def test_a_bad_link_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(Misuse, match="expected FROM_POOL=GBYTES_PER_S"):
        links([text])


def test_bad_formats_and_phases_are_refused_with_what_would_do() -> None:
    with pytest.raises(Misuse, match="did you mean 'fp8'"):
        precision("fp9", "--precision")
    with pytest.raises(Misuse, match="expected prefill, decode"):
        phases("prefil")
