"""Values by their types: what is taken, what is refused, and how it is said."""

import stat

import pytest
from config_samples import ACCESS, BASE, ENV, GOOD, WHSEC, faults, invalid, load, one, warnings

from compliance.model import FactRule, Outcome
from gateway.config.decode import MAX_REFERENCE_BYTES
from gateway.config.errors import CODE_TITLES, Code
from gateway.config.schema import Bearer, DeviceClaim, StandardWebhooks
from risk.values import Secret


def with_server(text):
    return GOOD + f"server: {{{text}}}\n"


def with_app(text):
    return GOOD.replace('upstream: "http://10.0.0.5:8080"', f'upstream: "http://10.0.0.5:8080", {text}')


def with_provider(text):
    return GOOD.replace("client_id: gate", f"client_id: gate, {text}")


# --- a sound file --------------------------------------------------------------------------------------


def test_a_sound_file_loads_with_defaults():
    loaded = load(GOOD)
    config = loaded.config
    assert config.apps[0].upstream == "http://10.0.0.5:8080"
    assert config.providers[0].client_secret == Secret("0123456789abcdef")
    assert config.access.policies[0].decision is Outcome.ALLOW
    assert (config.server.limits.body_bytes, config.sessions.idle) == (1073741824, 3600.0)
    assert loaded.warnings == ()


def test_the_revision_is_the_text_and_nothing_else():
    assert load(GOOD).revision == load(GOOD, env={**ENV, "SECRET": "another-secret-text"}).revision
    assert load(GOOD).revision != load(GOOD + "# changed\n").revision
    assert len(load(GOOD).revision) == 12


def test_origins_say_where_each_value_came_from():
    origins = load(GOOD).origins
    assert origins["public_url"] == "/nowhere/gate.yaml:2"
    assert origins["providers[0].client_secret"] == "env SECRET"
    assert "server.drain" not in origins


def test_own_keys_are_ignored_at_the_top_level_only():
    assert load(GOOD + "x-note: {anything: [at, all]}\n")
    assert one(with_server("x-note: 1")).code is Code.UNKNOWN_KEY


def test_a_key_without_a_value_is_as_good_as_absent():
    assert load(GOOD + "server:\nsensors:\nnetworks: ~\n").config.sensors == ()
    assert one(GOOD.replace("public_url: https://login.corp.example", "public_url:")).code is Code.WRONG_TYPE


# --- faults with their places --------------------------------------------------------------------------


def test_the_format_of_a_fault():
    fault = one(BASE + "access:\n  policies:\n    - {name: a, decision: alow}\n")
    assert str(fault) == (
        "/nowhere/gate.yaml:9:27: access.policies[0].decision: unknown decision `alow`: "
        "did you mean `allow`? known: allow, restrict, step-up, remediate, block"
    )


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    text = """\
version: 2
public_url: https://login.corp.example/x
server: {drain: 5, limts: {}}
providers:
  - {name: Corp, issuer: "http://idp.corp.example", client_id: gate, algorithms: [HS256]}
apps:
  - {host: a.corp.example, upstream: "ftp://x"}
access: {policies: [{name: a, decision: allow, apps: [nope], when: {networks: [nope]}}]}
"""
    found = invalid(text).faults
    assert [(fault.line, fault.code) for fault in found] == [
        (1, Code.UNKNOWN_WORD),
        (2, Code.URL),
        (3, Code.UNIT),
        (3, Code.UNKNOWN_KEY),
        (5, Code.FORM),
        (5, Code.UNSAFE),
        (5, Code.PROVIDER),
        (7, Code.MISSING_KEY),
        (7, Code.URL),
        (8, Code.UNKNOWN_NAME),
        (8, Code.UNKNOWN_NAME),
    ]


@pytest.mark.parametrize(
    ("text", "path", "near"),
    [
        (with_server("limts: {}"), "server.limts", "limits"),
        (with_server("Trusted-Proxies: []"), "server.Trusted-Proxies", "trusted_proxies"),
        (with_app("upstreamca: x"), "apps[0].upstreamca", "upstream_ca"),
        (GOOD + "sesions: {}\n", "sesions", "sessions"),
    ],
)
def test_an_unknown_key_names_the_nearest(text, path, near):
    fault = one(text)
    assert (fault.code, fault.path) == (Code.UNKNOWN_KEY, path)
    assert fault.hint.startswith(f"did you mean `{near}`?")


def test_a_key_unlike_any_other_gets_the_list():
    fault = one(with_server("zzz: 1"))
    assert fault.hint.startswith("known: listen, tls, ops")


def test_a_missing_key_says_of_what():
    fault = one(GOOD.replace('issuer: "https://idp.corp.example", ', ""))
    assert (fault.code, fault.path) == (Code.MISSING_KEY, "providers[0].issuer")
    assert fault.message == "`issuer` of `corp` is missing"


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("drain: 5", Code.UNIT, "did you mean `5s`?"),
        ("drain: 0", Code.UNIT, "did you mean `0s`?"),
        ("drain: 5 minutes", Code.UNIT, "did you mean `5m`?"),
        ("drain: soon", Code.UNIT, "units: ms, s, m, h, d, w"),
        ("drain: -5s", Code.UNIT, "units"),
        ("drain: 99999999d", Code.UNIT, ""),
        ("drain: no", Code.UNIT, "units"),
        ("drain: true", Code.UNIT, "units"),
        ("drain: [5s]", Code.WRONG_TYPE, ""),
        ("limits: {body_bytes: 10}", Code.UNIT, "did you mean `10B`?"),
        ("limits: {body_bytes: 10MB}", Code.UNIT, "did you mean `10MiB`?"),
        ("limits: {headers: many}", Code.WRONG_TYPE, ""),
        ("limits: {headers: '5'}", Code.WRONG_TYPE, "without quotes"),
        ("limits: {headers: 1.5}", Code.WRONG_TYPE, ""),
        ("limits: {headers: .inf}", Code.WRONG_TYPE, ""),
        ("limits: 5", Code.WRONG_TYPE, ""),
        ("workers: atuo", Code.UNKNOWN_WORD, "did you mean `auto`?"),
        ("workers: -1", Code.RANGE, ""),
        ("workers: 1.5", Code.WRONG_TYPE, ""),
        ("listen: [a]", Code.WRONG_TYPE, ""),
        ("listen: {evn: X}", Code.WRONG_TYPE, "did you mean `env`?"),
        ("trusted_proxies: 10.0.0.0/8", Code.WRONG_TYPE, "did you mean `[10.0.0.0/8]`?"),
        ("trusted_proxies: {a: b}", Code.WRONG_TYPE, ""),
        ("run_dir: true", Code.WRONG_TYPE, "put it into quotes"),
    ],
)
def test_values_of_another_kind(text, code, hint):
    fault = one(with_server(text))
    assert fault.code is code
    assert hint in fault.hint


@pytest.mark.parametrize("written", ["yes", "on", "'true'", "no", "1", "~"])
def test_truth_values_are_true_and_false_only(written):
    if written == "~":
        assert load(with_app(f"preserve_host: {written}"))
        return
    fault = one(with_app(f"preserve_host: {written}"))
    assert fault.code is Code.WRONG_TYPE
    if written != "1":
        assert "without quotes" in fault.hint


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("15m", 900),
        ("24h", 86400),
        ("7d", 604800),
        ("2w", 1209600),
        ("'1.5 h'", 5400),
        ("0s", 0),
    ],
)
def test_durations(written, seconds):
    assert load(with_server(f"drain: {written}")).config.server.drain == seconds


@pytest.mark.parametrize(
    ("written", "count"), [("512B", 512), ("64KiB", 65536), ("1.5MiB", 1572864), ("1GiB", 1 << 30)]
)
def test_sizes(written, count):
    assert load(with_server(f"limits: {{body_bytes: {written}}}")).config.server.limits.body_bytes == count


def rule(text):
    sensors = "sensors: [{name: s, kind: wazuh, max_silence: null, auth: {scheme: bearer, secrets: [{env: SECRET}]}}]\n"
    return (
        GOOD
        + sensors
        + f"compliance: {{policies: [{{name: p, rules: [{{type: fact, name: r, fact: f, {text}}}]}}]}}\n"
    )


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("equals: true", True),
        ("equals: 'true'", "true"),
        ("equals: NO", "NO"),
        ("equals: no", "no"),
        ("equals: 10:30", "10:30"),
        ("equals: 2024-05-01", "2024-05-01"),
        ("equals: 7", 7),
        ("equals: 7.5", 7.5),
        ("equals: '7'", "7"),
        ("equals: 0x1F", 31),
        ("equals: {env: NUMBER}", "7"),
    ],
)
def test_scalars_are_what_yaml_1_2_says(written, value):
    (policy,) = load(rule(written)).config.compliance.policies
    (found,) = policy.rules
    assert isinstance(found, FactRule)
    assert found.equals == value
    assert type(found.equals) is type(value)


def test_a_number_where_a_text_is_expected_stays_as_it_is_written():
    assert load(rule("at_least: 14.10")).config.compliance.policies[0].rules[0].at_least == "14.10"
    assert load(rule("one_of: [1.0, 007, stable]")).config.compliance.policies[0].rules[0].one_of == (
        "1.0",
        "007",
        "stable",
    )
    assert one(rule("one_of: [true]")).hint == "put it into quotes"


def test_tagged_sections():
    text = GOOD + "devices: [{from: claim, claim: device.id}]\n"
    assert load(text).config.devices == (DeviceClaim(claim="device.id"),)
    assert one(GOOD + "devices: [{from: claims, claim: x}]\n").hint.startswith("did you mean `claim`?")
    fault = one(GOOD + "devices: [{claim: x}]\n")
    assert (fault.code, fault.path, fault.hint) == (
        Code.MISSING_KEY,
        "devices[0]",
        "one of claim, certificate",
    )
    assert one(GOOD + "devices: [{from: claim, claim: x, match: y}]\n").code is Code.UNKNOWN_KEY


def test_names():
    fault = one(GOOD.replace("name: wiki", "name: Wiki App"))
    assert (fault.code, fault.message) == (Code.FORM, "`Wiki App` is not a name")


def test_what_was_found_is_shown_safely():
    """A message goes to a terminal: no control characters, no endless texts."""
    fault = one(GOOD.replace("decision: allow", f'decision: "\\e[31m{"x" * 500}"'))
    assert "\x1b" not in str(fault)
    assert len(fault.message) < 120


# --- references ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Return a folder with secret files."""
    for name, raw in {
        "good": b"s3cret-s3cret-s3cret\n",
        "windows": b"s3cret-s3cret-s3cret\r\n",
        "two-lines": b"s3cret-s3cret\n\n",
        "empty": b"",
        "newline": b"\n",
        "binary": b"\xff\xfe",
        "large": b"x" * (MAX_REFERENCE_BYTES + 1),
        "whsec": WHSEC.encode() + b"\n",
    }.items():
        (tmp_path / name).write_bytes(raw)
        (tmp_path / name).chmod(0o600)
    return tmp_path


def secret_of(written, folder):
    text = GOOD.replace("{env: SECRET}", written)
    return load(text, base=folder).config.providers[0].client_secret.reveal()


def test_files_lose_one_newline_at_their_end(folder):
    assert secret_of("{file: good}", folder) == "s3cret-s3cret-s3cret"
    assert secret_of("{file: windows}", folder) == "s3cret-s3cret-s3cret"
    assert secret_of("{file: two-lines}", folder) == "s3cret-s3cret\n"
    assert secret_of(f"{{file: {folder}/good}}", folder) == "s3cret-s3cret-s3cret"


@pytest.mark.parametrize("name", ["none", "empty", "newline", "binary", "large", ".", "/dev/zero"])
def test_files_that_give_no_text(folder, name):
    fault = one(GOOD.replace("{env: SECRET}", f"{{file: {name}}}"), base=folder)
    assert (fault.code, fault.path) == (Code.REFERENCE, "providers[0].client_secret")
    assert fault.line == 4


@pytest.mark.parametrize(("name", "part"), [("UNSET", "is not set"), ("EMPTY", "is empty")])
def test_variables_that_give_no_text(name, part):
    fault = one(GOOD.replace("{env: SECRET}", f"{{env: {name}}}"))
    assert fault.code is Code.REFERENCE
    assert part in fault.message


def test_references_stand_for_any_scalar_lists_included():
    text = GOOD.replace("decision: allow", "decision: allow, apps: [{env: NAME}]")
    text += "server: {workers: {env: NUMBER}, drain: {env: DURATION}}\n"
    config = load(text).config
    assert (config.server.workers, config.server.drain) == (7, 900.0)
    assert config.access.policies[0].apps == ("wiki",)


def test_a_reference_is_checked_as_what_it_stands_for():
    assert one(with_server("workers: {env: NAME}")).code is Code.UNKNOWN_WORD
    assert one(with_server("drain: {env: NUMBER}")).code is Code.UNIT


def test_a_reference_has_one_key():
    fault = one(GOOD.replace("{env: SECRET}", "{env: SECRET, file: x}"))
    assert fault.code is Code.WRONG_TYPE
    assert one(GOOD.replace("{env: SECRET}", "{env: [SECRET]}")).code is Code.WRONG_TYPE


def test_a_map_of_texts_is_no_reference():
    params = load(with_provider("authorize_params: {env: production}")).config.providers[0].authorize_params
    assert params == {"env": "production"}


def test_a_secret_that_others_can_read_is_a_warning(folder):
    text = GOOD.replace("{env: SECRET}", "{file: good}")
    assert warnings(text, base=folder) == []
    (folder / "good").chmod(stat.S_IRUSR | stat.S_IRGRP)
    (warning,) = load(text, base=folder).warnings
    assert warning.code is Code.SECRET_READABLE
    assert "group" in warning.message
    assert "0440" in warning.message
    assert warning.is_warning


def test_a_readable_file_that_is_no_secret_is_none_of_our_business(folder):
    (folder / "id").write_text("gate\n")
    (folder / "id").chmod(0o644)
    assert warnings(GOOD.replace("client_id: gate", "client_id: {file: id}"), base=folder) == []


def test_a_secret_in_the_file_itself_is_a_warning_and_never_shown():
    loaded = load(GOOD.replace("{env: SECRET}", "hunter2-hunter2"))
    assert [warning.code for warning in loaded.warnings] == [Code.SECRET_IN_FILE]
    assert "hunter2" not in repr(loaded)


def test_secrets_do_not_show_in_faults():
    for written in ("whsec_hunter2", "[hunter2]"):
        error = invalid(sensor(f"auth: {{scheme: standard-webhooks, secrets: {written}}}"))
        assert "hunter2" not in "\n".join(map(str, error.faults)) or written.startswith("whsec")


# --- sensors -------------------------------------------------------------------------------------------


def sensor(text, kind="wazuh"):
    return GOOD + f"sensors: [{{name: s, kind: {kind}, max_silence: null, {text}}}]\n"


BEARER = "auth: {scheme: bearer, secrets: [{env: SECRET}]}"


def test_schemes_of_sensors():
    assert isinstance(load(sensor(BEARER)).config.sensors[0].auth, Bearer)
    hooks = "auth: {scheme: standard-webhooks, secrets: [{env: WHSEC}, {env: WHSEC}]}"
    assert isinstance(load(sensor(hooks)).config.sensors[0].auth, StandardWebhooks)
    fault = one(sensor("auth: {scheme: standard-webhook, secrets: [{env: WHSEC}]}"))
    assert (fault.path, fault.line) == ("sensors[0].auth.scheme", 10)
    assert "did you mean `standard-webhooks`?" in fault.hint


def test_an_unknown_kind_names_the_nearest():
    fault = one(sensor(BEARER, kind="wazu"))
    assert (fault.code, fault.path) == (Code.SENSOR_KIND, "sensors[0].kind")
    assert fault.hint.startswith("did you mean `wazuh`?")


def test_options_are_checked_by_the_type_of_the_plugin():
    text = (
        GOOD
        + f"""\
sensors:
  - name: s
    kind: generic
    max_silence: null
    {BEARER}
    options:
      device: [{{kind: serial, path: device.serial}}]
      levle: {{path: severity}}
      expires_after: 5
"""
    )
    assert [(code, path) for code, path, _ in faults(text)] == [
        (Code.UNKNOWN_KEY, "sensors[0].options.levle"),
        (Code.UNIT, "sensors[0].options.expires_after"),
    ]
    assert [fault.line for fault in invalid(text).faults] == [17, 18]


def test_options_that_a_kind_needs():
    fault = one(sensor(BEARER, kind="generic"))
    assert (fault.code, fault.path) == (Code.MISSING_KEY, "sensors[0].options")
    assert one(sensor(BEARER + ", options: {device: []}", kind="generic")).code is Code.FORM


def test_options_arrive_as_they_are_written():
    text = sensor(
        BEARER + ", options: {device: [{kind: serial, path: {env: NAME}}], expires_after: 5m}", kind="generic"
    )
    assert load(text).config.sensors[0].options == {
        "device": [{"kind": "serial", "path": "wiki"}],
        "expires_after": "5m",
    }


# --- codes ---------------------------------------------------------------------------------------------


def test_every_code_is_explained():
    assert set(CODE_TITLES) == set(Code)
    assert len({code.value for code in Code}) == len(Code)


def test_an_access_free_file_loads_with_a_warning():
    assert warnings(BASE) == [Code.NOBODY_GETS_IN]
    assert warnings(BASE + ACCESS) == []


def test_an_app_of_several_addresses() -> None:
    text = GOOD.replace(
        '"http://10.0.0.5:8080"',
        '["http://a:1", "unix:/run/b.sock"], health: {path: /healthz, every: 1s}, timeouts: {response: 5m},'
        " path_prefix: /wiki, strip_prefix: true, add_prefix: /v2",
    )
    app = load(text).config.apps[0]
    assert app.upstreams == ("http://a:1", "unix:/run/b.sock")
    assert (app.health.path, app.health.every, app.health.timeout) == ("/healthz", 1.0, 2.0)
    assert (app.timeouts.response, app.timeouts.connect) == (300.0, None)
    assert (app.strip_prefix, app.add_prefix) == (True, "/v2")
