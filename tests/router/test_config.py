"""A fleet file is read whole, and everything wrong with it is said in one line each, with its place."""

from pathlib import Path

import pytest

from devices.profile import Precision
from policies.api import Slo
from router.config import Config, ConfigError, load, located, notices, read_secret, unreadable

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"

HEAD = "models: [{name: llama-3.1-70b, aliases: [default]}]\n"
POOL = "{name: h200, device: h200-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, simulate: 1}"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def loaded(file: Path, text: str) -> Config:
    file.write_text(text)
    return load(file)


def complaints(file: Path, text: str) -> list[str]:
    """The lines of the error, without the folder."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    return str(caught.value).replace(f"{file.parent}/", "").splitlines()


def of_pool(file: Path, pool: str, rest: str = "") -> list[str]:
    return complaints(file, f"{HEAD}pools:\n  - {pool}\n{rest}")


@pytest.mark.parametrize("name", ["hetero", "minimal", "api"])
def test_the_examples_are_sound(name: str) -> None:
    config = load(EXAMPLES / f"{name}.yaml")
    assert config.pools
    assert notices(config) == []


def test_every_setting_of_the_documented_file_is_accepted(fleet: Path) -> None:
    config = loaded(
        fleet,
        """
listen: {host: 127.0.0.1, port: 8080, tls: {cert: tls/cert.pem, key: tls/key.pem}}
operator: {host: 127.0.0.1, port: 8081, token_file: token}
models:
  - {name: llama-3.1-70b, shape: llama-3.1-70b, aliases: [default], fallbacks: [llama-3.1-8b]}
  - {name: llama-3.1-8b}
classes:
  chat:  {ttft_s: 1.0, tpot_s: 0.05, usd_per_miss: 0.002, min_precision: fp8}
  batch: {deadline_s: 600, usd_per_miss: 0.0005, deferrable: true}
pools:
  - {name: h200, device: h200-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, phases: [prefill, decode], engine: vllm,
     billing: {kind: on_demand, usd_per_chip_hour: 1.60}, site: east, workers: ["https://10.0.0.1:8000"]}
  - {name: mi355x, device: mi355x, tp: 2, model: llama-3.1-70b, precision: fp8, phases: [decode], engine: vllm,
     discover: {dns: mi355x.svc, port: 8000}, billing: {kind: committed}, site: east}
  - {name: lpu, device: groq-lpu-v1, chips: 576, precision: int8, model: llama-3.1-70b, phases: [prefill, decode],
     engine: openai, simulate: 2}
  - {name: cloud, api: {provider: cerebras, price: catalogue, rpm: 300, capabilities: [tools, json_schema]},
     model: llama-3.1-70b, workers: ["https://api.cerebras.ai"], key_file: key,
     billing: {kind: metered, usd_minimum_per_month: 0}}
links:
  - {from: h200, to: mi355x, gbytes_per_s: 50, latency_s: 0.0005, per_block_s: 0.000002,
     kv: {connector: nixl, dtype: fp8, block_size: 64}}
tenants:
  - {name: acme, key_hash: "sha256:00", weight: 2, classes: [chat], regions: [east], vendors_denied: [],
     usd_per_day: 50, tokens_per_min: 200000}
policy: {name: cost-slo, margin: 0.8, shadow: least-load, share: 1.0, otherwise: least-load}
trace: {class: chat, tenant: acme}
limits: {queue: 10, queue_timeout_s: 0.5, attempts: 3}
""",
    )
    assert config.policy.options == {"margin": 0.8}
    assert config.listen.tls is not None
    assert config.listen.tls.cert == fleet.parent / "tls/cert.pem"
    assert config.pools[0].key_file is None
    assert config.pools[3].key_file == fleet.parent / "key"
    assert config.limits.queue_timeout_s == 0.5
    assert config.trace.traffic_class == "chat"


def test_a_file_needs_only_models_and_pools(fleet: Path) -> None:
    config = loaded(fleet, f"{HEAD}pools: [{POOL}]\n")
    assert (config.listen.host, config.listen.port, config.operator.port) == ("127.0.0.1", 8080, 8081)
    assert config.policy.name == "cost-slo"
    assert (config.limits.queue, config.limits.attempts, config.limits.body_bytes) == (1000, 2, 8_388_608)


def test_clients_may_use_a_models_name_and_its_aliases(fleet: Path) -> None:
    config = loaded(fleet, f"{HEAD}pools: [{POOL}]\n")
    assert config.resolve_model("default") == config.resolve_model("llama-3.1-70b") == "llama-3.1-70b"
    assert config.resolve_model("gpt-5") is None
    assert config.shape_id("llama-3.1-70b") == "llama-3.1-70b"


def test_a_class_becomes_limits_the_scheduler_understands(fleet: Path) -> None:
    chat = "{ttft_s: 1.0, tpot_s: 0.05, deadline_s: 60, min_precision: fp8}"
    config = loaded(fleet, f"{HEAD}pools: [{POOL}]\nclasses: {{chat: {chat}}}\n")
    found = config.traffic_class("chat")
    assert found is not None
    assert found.slo == Slo(ttft_s=1.0, tpot_s=0.05, e2e_s=60)
    assert found.min_bits == Precision.FP8.bits


def test_the_default_class_promises_nothing_and_unknown_classes_do_not_exist(fleet: Path) -> None:
    config = loaded(fleet, f"{HEAD}pools: [{POOL}]\n")
    default = config.traffic_class()
    assert default is not None
    assert (default.slo, default.min_bits, default.usd_per_miss) == (Slo(), 0, 0.0)
    assert config.traffic_class("vip") is None


def test_the_hash_of_a_key_is_not_in_the_repr(fleet: Path) -> None:
    config = loaded(fleet, f"{HEAD}pools: [{POOL}]\ntenants: [{{name: acme, key_hash: s3cret}}]\n")
    assert "s3cret" not in repr(config)


# What is wrong, and where.


def test_an_unknown_field_is_placed_at_its_name_with_the_nearest_known_one(fleet: Path) -> None:
    [line] = complaints(fleet, f"{HEAD}pools:\n  - {POOL[:-1]}, precission: fp8}}\n")
    assert line == "fleet.yaml:3:94: pools[0].precission: unknown field; did you mean 'precision'?"


def test_an_unknown_field_far_from_all_known_ones_lists_them(fleet: Path) -> None:
    [line] = complaints(fleet, f"{HEAD}pools: [{POOL}]\nlisten: {{zzz: 1}}\n")
    assert line == "fleet.yaml:3:10: listen.zzz: unknown field; known: host, port, tls"


def test_fields_of_a_class_and_of_an_aliased_field_are_suggested_too(fleet: Path) -> None:
    lines = complaints(fleet, f"{HEAD}pools: [{POOL}]\nclasses: {{tpot_s: {{tppot_s: 1.0}}}}\ntrace: {{clas: x}}\n")
    assert lines == [
        "fleet.yaml:3:20: classes.tpot_s.tppot_s: unknown field; did you mean 'tpot_s'?",
        "fleet.yaml:4:9: trace.clas: unknown field; did you mean 'class'?",
    ]


def test_a_missing_field_is_placed_at_the_mapping_that_lacks_it(fleet: Path) -> None:
    [line] = of_pool(fleet, "{name: h200, device: h200-sxm, simulate: 1}")
    assert line == "fleet.yaml:3:5: pools[0].model: required, but missing"


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("simulate: -1", "input should be greater than or equal to 1, not -1"),
        ("simulate: one", "input should be a valid integer, not 'one'"),
        ("simulate: '1'", "'1' is text to YAML; write it without quotes, and powers of ten as 1.0e+9"),
        ("precision: fp9", "'fp9' is not possible; did you mean 'fp8'?"),
        ("phases: []", "expected at least one entry"),
        ("workers: {a: 1}", "expected a list in [ ], not {'a': 1}"),
        ("site: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]",
         "expected text, not ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...; if it is meant so, put it in quotes"),
        ("site: no", "YAML reads yes, no, on and off as true and false; put the text in quotes"),
        ("workers: ", "expected a list in [ ], not nothing"),
        ("billing: spot", "expected a mapping of settings, not 'spot'"),
        ("simulate: 10001", "input should be less than or equal to 10000, not 10001"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_placed_and_shown(fleet: Path, field: str, what: str) -> None:
    [line] = of_pool(fleet, f"{{name: a, device: h200-sxm, model: llama-3.1-70b, {field}}}")
    name = field.split(":")[0]
    assert line == f"fleet.yaml:3:{57 + len(name)}: pools[0].{name}: {what}"


def test_an_empty_host_is_refused_because_it_would_listen_everywhere(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL, "listen: {host: ''}\n")
    assert line == "fleet.yaml:4:16: listen.host: expected some text, not ''"


def test_a_name_of_odd_letters_is_refused_in_words(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL.replace("name: h200", "name: 'gpu pool'"))
    assert line.startswith("fleet.yaml:3:12: pools[0].name: expected a name of plain letters, digits and ")


def test_a_date_is_text(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL, "trace: {class: 2026-99-99}\n")
    assert line == "fleet.yaml:4:16: trace.class: unknown class '2026-99-99'; known: default"


def test_a_wrong_item_does_not_make_its_list_look_empty(fleet: Path) -> None:
    [line] = of_pool(fleet, f"{POOL[:-1]}, phases: [prefil]}}")
    assert line.endswith("pools[0].phases[0]: 'prefil' is not possible; did you mean 'prefill'?")


def test_all_problems_are_told_at_once_in_the_order_of_the_file(fleet: Path) -> None:
    lines = complaints(
        fleet,
        f"""{HEAD}pools:
  - {{name: a, device: h1000, model: llama-3.1-70b, simulate: 1}}
  - {{name: a, device: h200-sxm, tp: 2, model: llama-3.1-8b, simulate: 1, engine: vlm}}
links:
  - {{from: a, to: b, gbytes_per_s: 50}}
policy: {{name: cost-sloo}}
""",
    )
    assert lines == [
        "fleet.yaml:3:23: pools[0].device: unknown device 'h1000'; did you mean 'h100-sxm'?",
        "fleet.yaml:4:12: pools[1].name: pool 'a' is there twice",
        "fleet.yaml:4:47: pools[1].model: unknown model 'llama-3.1-8b'; did you mean 'llama-3.1-70b'?",
        "fleet.yaml:4:82: pools[1].engine: unknown engine 'vlm'; did you mean 'vllm'?",
        "fleet.yaml:6:19: links[0].to: unknown pool 'b'; known: a",
        "fleet.yaml:7:16: policy.name: unknown policy 'cost-sloo'; did you mean 'cost-slo'?",
    ]


@pytest.mark.parametrize(
    ("pool", "what"),
    [
        ("{name: a, model: llama-3.1-70b, simulate: 1}", "pools[0]: needs either device or api"),
        ("{name: a, device: h200-sxm, tp: 4, model: llama-3.1-70b}",
         "pools[0]: needs exactly one of workers, discover, simulate"),
        ("{name: a, device: h200-sxm, tp: 4, chips: 4, model: llama-3.1-70b, simulate: 1}",
         "pools[0].chips: tp and chips are the same thing; give one"),
        ("{name: a, device: h200-sxm, tp: 4, model: llama-3.1-70b, simulate: 1, billing: {kind: metered}}",
         "pools[0].billing.kind: only an api is metered; use on_demand, spot or committed"),
        ("{name: a, api: {provider: cerebras}, model: llama-3.1-70b, simulate: 1, billing: {kind: spot}}",
         "pools[0].billing.kind: an api is metered"),
        ("{name: a, api: {provider: grok}, model: llama-3.1-70b, simulate: 1}",
         "pools[0].api: unknown provider 'grok'; did you mean 'groq'?; or give price: "
         "{usd_per_m_input: ..., usd_per_m_output: ...}"),
        ("{name: a, device: h100-sxm, model: llama-3.1-70b, simulate: 1}",
         "pools[0].device: llama-3.1-70b in bf16 has 141.10 GB of weights, 1 x h100-sxm holds 72.00 GB; "
         "it needs tp >= 2"),
        ("{name: a, device: groq-lpu-v1, chips: 576, precision: fp16, model: llama-3.1-70b, simulate: 1}",
         "pools[0].device: llama-3.1-70b in fp16 has 141.10 GB of weights, 576 x groq-lpu-v1 hold 132.48 GB; "
         "it needs >= 614 chips"),
    ],
)  # fmt: skip
def test_a_pool_that_cannot_be_is_refused(fleet: Path, pool: str, what: str) -> None:
    [line] = of_pool(fleet, pool)
    assert line.partition(": ")[2] == what


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a:1/v1", "must be scheme, host and port only"),
        ("http://u:p@a:1", "must be scheme, host and port only"),
        ("ftp://a:1", "is no http or https address"),
        ("a:8000", "is no http or https address"),
        ("http://a:99999", "is no address (Port out of range 0-65535)"),
    ],
)
def test_a_workers_address_is_an_origin(fleet: Path, url: str, why: str) -> None:
    [line] = of_pool(
        fleet, f'{{name: a, device: h200-sxm, tp: 4, model: llama-3.1-70b, precision: fp8, workers: ["{url}"]}}'
    )
    assert line.endswith(f": pools[0].workers[0]: '{url}' {why}; write http://host:port")


def test_one_address_is_one_worker(fleet: Path) -> None:
    [line] = of_pool(fleet, f"{POOL.replace('simulate: 1', 'workers: [http://a:1, http://a:1/]')}")
    assert line.endswith(": pools[0].workers[1]: worker 'http://a:1' is there twice")


def test_names_that_refer_to_nothing_are_told(fleet: Path) -> None:
    lines = complaints(
        fleet,
        f"""models: [{{name: llama-3.1-70b, fallbacks: [llama-3.1-70]}}, {{name: other, shape: llama-3.1-7b}}]
pools: [{POOL}]
classes: {{chat: {{}}}}
links: [{{from: h200, to: h200, gbytes_per_s: 1}}, {{from: h200, to: h200, gbytes_per_s: 2}}]
tenants: [{{name: a, classes: [chatt]}}, {{name: a}}]
policy: {{name: cost-slo, otherwise: nobody:Nothing}}
trace: {{class: caht, model: llama-3.1-70, classes: {{chat: 0.5, bach: 0.5}}}}
""",
    )
    assert [line.partition(": ")[2] for line in lines] == [
        "models[0].fallbacks[0]: unknown model 'llama-3.1-70'; did you mean 'llama-3.1-70b'?",
        "models[1].shape: unknown model 'llama-3.1-7b'; did you mean 'llama-3.1-70b'?",
        "links[1]: link 'h200 -> h200' is there twice",
        "tenants[0].classes[0]: unknown class 'chatt'; did you mean 'chat'?",
        "tenants[1].name: tenant 'a' is there twice",
        "policy.otherwise: policy 'nobody:Nothing': No module named 'nobody'; is the module on PYTHONPATH?",
        "trace.class: unknown class 'caht'; did you mean 'chat'?",
        "trace.model: unknown model 'llama-3.1-70'; did you mean 'llama-3.1-70b'?",
        "trace.classes: cannot stand beside class; give either one class or shares of several",
        "trace.classes.bach: unknown class 'bach'; known: chat, default",
    ]


def test_an_option_the_policy_does_not_have_is_told(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL, "policy: {name: cost-slo, marginn: 0.7}\n")
    assert line == "fleet.yaml:4:35: policy.marginn: 'cost-slo' has no such option; did you mean 'margin'?"


@pytest.mark.parametrize("value", ["high", "true", ".nan", "[1]"])
def test_an_option_that_is_a_number_takes_only_numbers(fleet: Path, value: str) -> None:
    [line] = of_pool(fleet, POOL, f"policy: {{name: cost-slo, margin: {value}}}\n")
    assert line.startswith("fleet.yaml:4:34: policy.margin: expected a number, not ")


def test_a_listener_others_can_reach_needs_a_token(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL, "operator: {host: 0.0.0.0}\n")
    assert line.startswith("fleet.yaml:4:18: operator.host: 0.0.0.0 can be reached by others; set operator.token_file")
    assert loaded(fleet, f"{HEAD}pools: [{POOL}]\noperator: {{host: '::1'}}\n")


def test_both_listeners_cannot_have_one_port(fleet: Path) -> None:
    [line] = of_pool(fleet, POOL, "operator: {port: 8080}\n")
    assert line.startswith("fleet.yaml:4:18: operator.port: 8080 is the port of `listen` too")
    assert loaded(fleet, f"{HEAD}pools: [{POOL}]\nlisten: {{port: 0}}\noperator: {{port: 0}}\n")


def test_a_key_given_twice_is_told_though_yaml_would_take_the_last(fleet: Path) -> None:
    lines = of_pool(fleet, POOL, "listen: {port: 1, port: 2}\n")
    assert lines == ["fleet.yaml:4:19: listen.port: given twice"]


def test_keys_merged_from_an_anchor_may_be_overridden(fleet: Path) -> None:
    config = loaded(fleet, f"{HEAD}pools: [&p {POOL}, {{<<: *p, name: two}}]\n")
    assert [entry.name for entry in config.pools] == ["h200", "two"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("models: [\n  {name: x}\n", "fleet.yaml:3:1: did not find expected ',' or ']'"),
        ("models:\n\t- x\n", "fleet.yaml:2:1: a tab; YAML takes spaces only"),
        ("a: *nope\n", "fleet.yaml:1:4: found undefined alias"),
        ("a: 1\n---\nb: 1\n", "fleet.yaml:2:1: a second document; expected one, without a --- line"),
        ("", "fleet.yaml:1:1: expected a mapping with models and pools"),
        ("- a\n", "fleet.yaml:1:1: expected a mapping with models and pools"),
        (f"a: {'[' * 2000}{']' * 2000}\n", "fleet.yaml:1:1: nested too deeply"),
    ],
)
def test_text_that_is_no_fleet_file_is_told_in_one_line(fleet: Path, text: str, line: str) -> None:
    assert complaints(fleet, text) == [line]


def test_control_characters_are_refused(fleet: Path) -> None:
    [line] = complaints(fleet, "a: \x01\n")
    assert line.startswith("fleet.yaml:1:1: unacceptable character #x0001")


def test_a_mapping_that_contains_itself_ends(fleet: Path) -> None:
    assert "fleet.yaml:1:1: models: required, but missing" in complaints(fleet, "a: &a [*a]\n")


def test_a_missing_file_a_folder_and_a_binary_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file or directory$"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"is a directory$"):
        load(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary: not UTF-8 text \(byte 0\)$"):
        load(tmp_path / "binary")


def test_settings_that_change_nothing_yet_are_named(fleet: Path) -> None:
    config = loaded(
        fleet,
        f"""models: [{{name: llama-3.1-70b}}]
pools:
  - {POOL}
  - {{name: lpu, device: groq-lpu-v1, chips: 576, precision: int8, model: llama-3.1-70b, simulate: 1}}
  - {{name: cloud, api: {{provider: cerebras, rpm: 3}}, model: llama-3.1-70b, workers: ["https://a"]}}
tenants: [{{name: acme}}]
""",
    )
    assert notices(config) == [
        "pools[1].billing: groq-lpu-v1 has no published rent, so this pool counts as free; set usd_per_chip_hour",
        "tenants: accepted, but not acted on by this version",
        "pools: api.rpm: accepted, but not acted on by this version",
    ]


def test_a_secret_is_one_line_and_is_read_only_when_asked_for(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-123\n")
    assert read_secret(key) == "sk-123"
    key.write_text("\n")
    with pytest.raises(ConfigError, match="expected one key on one line"):
        read_secret(key)
    with pytest.raises(ConfigError, match="no such file"):
        read_secret(tmp_path / "nothing")


def test_a_model_that_nothing_serves_is_named(fleet: Path) -> None:
    decode = POOL.replace("simulate: 1", "simulate: 1, phases: [decode]")
    prefill = POOL.replace("h200,", "p,").replace("simulate: 1", "simulate: 1, phases: [prefill]")
    link = "links: [{from: p, to: h200, gbytes_per_s: 50, kv: {connector: nixl}}]\n"
    alone = loaded(fleet, f"{HEAD}pools: [{decode}, {prefill}]\n")
    assert [line.partition(":")[0] for line in notices(alone)] == ["models[0]"]
    assert notices(loaded(fleet, f"{HEAD}pools: [{decode}, {prefill}]\n{link}")) == []


def test_files_that_serve_needs_are_named_where_they_are_missing(fleet: Path) -> None:
    text = f"{HEAD}pools: [{POOL}]\noperator: {{token_file: token}}\nlisten: {{tls: {{cert: token, key: key}}}}\n"
    (fleet.parent / "token").write_text("t")
    [line] = unreadable(fleet, loaded(fleet, text))
    said = f"{fleet}:4:34: listen.tls.key: {fleet.parent}/key: no such file or directory; `serve` needs it"
    assert line == said


def test_a_problem_found_later_gets_its_place_even_when_the_file_is_gone(fleet: Path) -> None:
    loaded(fleet, f"{HEAD}pools: [{POOL}]\n")
    problem = ConfigError("is odd", ("pools", 0, "device"))
    assert str(located(fleet, problem)) == f"{fleet}:2:30: pools[0].device: is odd"
    fleet.unlink()
    assert str(located(fleet, problem)) == f"{fleet}: pools[0].device: is odd"
    assert str(located(fleet, ConfigError("is odd"))) == "is odd"
