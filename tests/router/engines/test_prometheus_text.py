from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from router.engines.prometheus_text import samples

label_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=10)
values = st.floats(allow_nan=False) | st.integers(-5, 10**18)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(label_values, values), max_size=5), st.lists(values, max_size=1))
def test_it_reads_what_the_official_library_writes(labelled: list[tuple[str, float]], plain: list[float]) -> None:
    registry = CollectorRegistry()
    wanted = Gauge("engine:wanted", "vllm:wanted 3\n# {engine:wanted} 4", ["name"], registry=registry)
    longer = Gauge("engine:wanted_by_reason", "", ["name"], registry=registry)
    single = Gauge("single", "", registry=registry)
    for name, value in labelled:
        wanted.labels(name).set(value)
        longer.labels(name).set(99)
    for value in plain:
        single.set(value)
    page = generate_latest(registry)
    expected: dict[str, list[float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            if sample.name in ("engine:wanted", "single"):
                expected.setdefault(sample.name, []).append(sample.value)
    assert samples(page, {"engine:wanted", "single", "absent"}) == expected


def test_a_name_inside_another_line_is_not_a_sample() -> None:
    page = b'# HELP a a 1\nb{x="\\na 2"} 3\nxa 4\na_total 5\n a 6\na 7'
    assert samples(page, {"a"}) == {"a": [7.0]}


def test_a_line_cut_short_is_absent() -> None:
    assert samples(b'a{x="y\na 1\na{x="y"} \na\na{', {"a"}) == {"a": [1.0]}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["a", "ab", "\n"]))
def test_no_bytes_make_it_raise(page: bytes, name: str) -> None:
    assert set(samples(page, {name})) <= {name}
    assert set(samples(b"a" + page, {"a"})) <= {"a"}


def test_a_hostile_label_takes_linear_time() -> None:
    page = b'a{x="' + b'\\"' * 100_000 + b"\n" + b"a{" * 100_000 + b"\na 1\n"
    assert samples(page, {"a"}) == {"a": [1.0]}
