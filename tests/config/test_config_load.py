"""Settings from file, environment and flags: precedence, and every mistake named with its place."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from config import SHIPPED, ConfigurationError, Settings
from config.load import load, variable
from config.setting_knobs import SETTING_KNOBS
from config.settings import ApiSettings, LogSettings, PrometheusSettings


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        file = tmp_path / "canaryd.yaml"
        file.write_text(text)
        return file

    return write


def problems(file: Path | None, environment: dict[str, str] | None = None, **flags: Any) -> list[str]:
    """What is wrong, without the directory of the file."""
    with pytest.raises(ConfigurationError) as error:
        load(file, environment or {}, flags)
    directory = f"{file.parent}/" if file else "\0"
    return [str(problem).replace(directory, "") for problem in error.value.problems]


def test_nothing_told_are_the_defaults() -> None:
    assert load() == Settings()


def test_every_knob_has_a_place_and_a_default_within_its_range() -> None:
    for knob in SETTING_KNOBS:
        value = Settings().value(knob.key)
        if value != "":
            assert knob.kind.parse(knob.kind.show(value)) == value, knob.key
    groups = {"prometheus", "api", "listen", "log"}
    leaves = {field.name for field in dataclasses.fields(Settings)} - groups - {"policies"}
    assert leaves == {knob.field for knob in SETTING_KNOBS if "." not in knob.key}


def test_everything_that_a_file_can_say(written: Any) -> None:
    settings = load(
        written(
            """
prometheus:
  url: https://prom.example/select/0/
  timeout: 5s
  scrape-interval: 30
  bearer-token-file: /var/run/token
  ca-file: /etc/ca.pem
  headers: {X-Scope-OrgID: 42}
api: {connect-timeout: 1s, timeout: 20s}
listen: {probes: off}
log: {level: debug, format: json}
namespaces: [shop, pay]
root-namespace: istio-config
tick: 5s
settle: 20s
workers: 2
gate: standing-pause
history: 5
default-policy: mine
policies:
  mine: {extends: fast, harm-budget: 7}
"""
        )
    )
    assert settings == Settings(
        prometheus=PrometheusSettings(
            url="https://prom.example/select/0",
            timeout=5.0,
            scrape_interval=30.0,
            bearer_token_file="/var/run/token",
            ca_file="/etc/ca.pem",
            headers=(("X-Scope-OrgID", "42"),),
        ),
        api=ApiSettings(connect_timeout=1.0, timeout=20.0),
        listen=dataclasses.replace(Settings().listen, probes=""),
        log=LogSettings("debug", "json"),
        namespaces=("shop", "pay"),
        root_namespace="istio-config",
        tick=5.0,
        settle=20.0,
        workers=2,
        history=5,
        default_policy="mine",
        policies={**SHIPPED, "mine": dataclasses.replace(SHIPPED["fast"], name="mine", harm_budget=7.0)},
    )


@pytest.mark.parametrize("text", ["{}", "prometheus:\npolicies:\n", "log: {}\n"])
def test_an_empty_group_says_nothing(written: Any, text: str) -> None:
    assert load(written(text)) == Settings()


def test_flags_win_over_variables_and_variables_over_the_file(written: Any) -> None:
    file = written("tick: 1s\nsettle: 1s\nworkers: 1\nhistory: 1\n")
    environment = {"CANARYD_TICK": "2s", "CANARYD_SETTLE": "2s", "CANARYD_WORKERS": ""}
    settings = load(file, environment, {"tick": "3s", "settle": None})
    assert (settings.tick, settings.settle, settings.workers, settings.history) == (3.0, 2.0, 1, 1)


def test_no_two_settings_share_a_variable() -> None:
    assert len({variable(knob.key) for knob in SETTING_KNOBS}) == len(SETTING_KNOBS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tikc: 5s\n", ['canaryd.yaml:1: tikc: there is no such key; did you mean "tick"?']),
        ("url: http://x\n", ['canaryd.yaml:1: url: there is no such key; did you mean "prometheus.url"?']),
        ("xyzzy: 1\n", ["canaryd.yaml:1: xyzzy: there is no such key"]),
        ("1: 2\n", ["canaryd.yaml:1: 1: there is no such key"]),
        (
            "prometheus:\n  timout: 5s\n",
            ['canaryd.yaml:2: prometheus.timout: there is no such key; did you mean "timeout"?'],
        ),
        ("api: 10s\n", ['canaryd.yaml:1: api: "10s" is not allowed; allowed is a mapping of keys to values']),
        (
            "tick:\n",
            [
                "canaryd.yaml:1: tick: nothing (null) is not allowed; "
                'allowed is a duration from 100ms to 5m, such as "90s" or "1h30m"'
            ],
        ),
        (
            "workers: true\nhistory: many\n",
            [
                "canaryd.yaml:1: workers: true is not allowed; allowed is a whole number from 1 to 256",
                'canaryd.yaml:2: history: "many" is not allowed; allowed is a whole number from 1 to 100',
            ],
        ),
        (
            "default-policy: standrad\n",
            [
                'canaryd.yaml:1: default-policy: there is no policy "standrad"; '
                'there are cautious, fast, standard; did you mean "standard"?'
            ],
        ),
        (
            "prometheus: {verify: false, ca-file: /ca.pem}\n",
            [
                "canaryd.yaml:1: prometheus.ca-file: is of no use while prometheus.verify is false; "
                "remove one of them"
            ],
        ),
        (
            "prometheus: {bearer-token-file: /t, headers: {authorization: Basic eA==}}\n",
            [
                "canaryd.yaml:1: prometheus.bearer-token-file: sends Authorization, and so does prometheus.headers"
            ],
        ),
        (
            "gate: admission\n",
            ['canaryd.yaml:1: gate: "admission" is not allowed; allowed is one of "standing-pause"'],
        ),
        ("tick: 1s\ntick: 2s\n", ["canaryd.yaml:2: tick: is written twice, first on line 1"]),
        ("", ['canaryd.yaml: is empty; write "{}" where the defaults are meant']),
    ],
)
def test_what_is_wrong_with_a_file(written: Any, text: str, expected: list[str]) -> None:
    assert problems(written(text)) == expected


def test_all_mistakes_of_all_places_are_named_in_the_order_of_the_file(written: Any) -> None:
    file = written("tick: 0\npolicies:\n  a: {steps: no}\nxyzzy: 1\nhistory: 0\n")
    found = problems(file, {"CANARYD_SETTLE": "x", "CANARYD_TICKS": "1"}, workers=0)
    assert [line.partition(" ")[0] + line.split(" ")[1] for line in found] == [
        "canaryd.yaml:1:tick:",
        "canaryd.yaml:3:policies.a.steps:",
        "canaryd.yaml:4:xyzzy:",
        "canaryd.yaml:5:history:",
        "environment:CANARYD_SETTLE:",
        "environment:CANARYD_TICKS:",
        "commandline:",
    ]


def test_secrets_are_not_repeated(written: Any) -> None:
    file = written('prometheus: {headers: {Authorization: "hunter2\\n"}, url: "http://me:hunter2@prom"}\n')
    found = problems(file, {"CANARYD_PROMETHEUS_HEADERS": "hunter2"})
    assert len(found) == 3
    assert "hunter2" not in "".join(found)
    settings = load(written("prometheus: {headers: {Authorization: hunter2}}\n"))
    assert dict(settings.prometheus.headers) == {"Authorization": "hunter2"}
    assert "hunter2" not in repr(settings) + str(settings.to_document())


def test_what_kubernetes_puts_into_the_environment_is_no_setting() -> None:
    links = {
        "CANARYD_SERVICE_HOST": "10.0.0.1",
        "CANARYD_SERVICE_PORT": "80",
        "CANARYD_SERVICE_PORT_PROBES": "80",
        "CANARYD_PORT": "tcp://10.0.0.1:80",
        "CANARYD_PORT_80_TCP_ADDR": "10.0.0.1",
        "CANARYD_LISTEN_PROBES_SERVICE_HOST": "10.0.0.1",
        "CANARYD_ROLE": "canary",
        "CANARYD_TEST_CRDS": "/crds",
    }
    assert load(None, links) == Settings()


def test_a_variable_that_is_nearly_right_is_an_error() -> None:
    assert problems(None, {"CANARYD_PROMETHUES_URL": "http://x"}) == [
        "environment: CANARYD_PROMETHUES_URL: there is no such variable; did you mean CANARYD_PROMETHEUS_URL?"
    ]


def test_what_is_shown_can_be_read_back(written: Any) -> None:
    settings = load(written("tick: 1.5s\nlisten: {probes: off}\npolicies: {mine: {slow-edges: [250ms]}}\n"))
    again = load(written(yaml.safe_dump(settings.to_document())))
    assert again == settings


keys = st.sampled_from([*(knob.key for knob in SETTING_KNOBS), "policies", "prometheus", "nonsense"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(keys, anything))
def test_no_file_ever_crashes_and_errors_name_their_keys(
    tmp_path_factory: pytest.TempPathFactory, body: dict[str, Any]
) -> None:
    file = tmp_path_factory.mktemp("config") / "canaryd.yaml"
    file.write_text(yaml.safe_dump(body))
    try:
        load(file)
    except ConfigurationError as error:
        for problem in error.problems:
            assert problem.key.split(".")[0] in "".join(body) or not body
            assert problem.key in str(problem)
