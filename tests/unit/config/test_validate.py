"""Checks between values: names, addresses, unsafe combinations. One case per rule, one fault per case."""

# ruff: noqa: E501 - a table of cases reads best with one case to a line

import atexit
import shutil
import tempfile
from pathlib import Path

import pytest
import trustme
from config_samples import BASE, GOOD, load, one, warnings

from gateway.config.checks.forms import is_loopback, is_whsec, parse_listen
from gateway.config.errors import Code
from risk.values import Secret

PROXIES = "trusted_proxies: [10.0.0.0/8]"

_FOLDER = Path(tempfile.mkdtemp(prefix="posturegate-test-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_AUTHORITY = trustme.CA()
_CERTIFICATE = _AUTHORITY.issue_cert("login.corp.example")
CA, CERT, KEY, OTHER_KEY = (str(_FOLDER / name) for name in ("ca.pem", "cert.pem", "key.pem", "other.pem"))
_AUTHORITY.cert_pem.write_to_path(CA)
_CERTIFICATE.cert_chain_pems[0].write_to_path(CERT)
_CERTIFICATE.private_key_pem.write_to_path(KEY)
_AUTHORITY.issue_cert("other.example").private_key_pem.write_to_path(OTHER_KEY)


def replace(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def host(name):
    return replace("host: wiki.corp.example", f'host: "{name}"')


def upstream(address):
    return replace('"http://10.0.0.5:8080"', f'"{address}"')


def app(text):
    return replace("name: wiki,", f"name: wiki, {text},")


def provider(text):
    return replace("client_id: gate", f"client_id: gate, {text}")


def issuer(url):
    return replace("https://idp.corp.example", url)


def public(url):
    return replace("https://login.corp.example", url)


def server(text):
    return GOOD + f"server: {{{text}}}\n"


def auth(text):
    return GOOD + f"sensors: [{{name: s, kind: wazuh, max_silence: null, auth: {{{text}}}}}]\n"


def generic(kind):
    mapping = f"options: {{device: [{{kind: {kind}, path: a}}, {{kind: hostname, path: b}}]}}"
    return auth("scheme: bearer, secrets: [{env: SECRET}]").replace(
        "kind: wazuh", f"kind: generic, {mapping}"
    )


def rules(*texts):
    sensors = "sensors: [{name: fleet, kind: fleet, max_silence: 1d, auth: {scheme: bearer, secrets: [{env: SECRET}]}}]\n"
    listed = ", ".join(f"{{name: r{at}, {text}}}" for at, text in enumerate(texts))
    return GOOD + sensors + f"compliance: {{policies: [{{name: p, rules: [{listed}]}}]}}\n"


def policies(*texts):
    listed = "".join(f"    - {{{text}}}\n" for text in texts)
    networks = "networks: [{name: office, cidrs: [10.0.0.0/8]}]\n"
    return f"{BASE}{networks}access:\n  policies:\n    - {{name: all, decision: allow}}\n{listed}"


TWO_APPS = "apps:\n  - {name: b, host: wiki.corp.example, upstream: 'http://x:1'%s}\n"

FAULTS = [
    # server
    (server("listen: 0.0.0.0:80"), Code.UNSAFE, "server.listen"),
    (server("listen: 8080"), Code.URL, "server.listen"),
    (server("listen: ':8080'"), Code.URL, "server.listen"),
    (server("listen: 127.0.0.1:70000"), Code.URL, "server.listen"),
    (server("listen: '::1:80'"), Code.URL, "server.listen"),
    (server("listen: 127.0.0.1:9901"), Code.ADDRESS_CLASH, "server.ops"),
    (server("trusted_proxies: [10.0.0.1/8]"), Code.NETWORK, "server.trusted_proxies[0]"),
    (server("trusted_proxies: [0.0.0.0/0]"), Code.UNSAFE, "server.trusted_proxies[0]"),
    (server("workers: 1000"), Code.RANGE, "server.workers"),
    (server(f"run_dir: /{'x' * 90}"), Code.FORM, "server.run_dir"),
    (server("limits: {headers: 0}"), Code.RANGE, "server.limits.headers"),
    (server("limits: {idle_timeout: 0s}"), Code.RANGE, "server.limits.idle_timeout"),
    (server("tls: {certificates: []}"), Code.MISSING_KEY, "server.tls.certificates"),
    (server("tls: {certificates: [{cert: none.pem, key: /dev/null}]}"), Code.FILE_NEEDED, "server.tls.certificates[0].cert"),
    (server(f"tls: {{certificates: [{{cert: {CERT}, key: {OTHER_KEY}}}]}}"), Code.FILE_NEEDED, "server.tls.certificates[0].cert"),
    (server(f"tls: {{certificates: [{{cert: /dev/null, key: {KEY}}}]}}"), Code.FILE_NEEDED, "server.tls.certificates[0].cert"),
    (server(f"tls: {{certificates: [{{cert: {CERT}, key: {KEY}}}], client_certificates: optional, client_ca: {KEY}}}"), Code.FILE_NEEDED, "server.tls.client_ca"),
    (
        server(f"tls: {{certificates: [{{cert: {CERT}, key: {KEY}}}], client_certificates: required}}"),
        Code.DEVICE,
        "server.tls.client_certificates",
    ),
    # store
    (GOOD + "store: {url: 'redis://x'}\n", Code.URL, "store.url"),
    (GOOD + "store: {url: 'sqlite:'}\n", Code.URL, "store.url"),
    (GOOD + "store: {url: 'sqlite://host/x'}\n", Code.URL, "store.url"),
    # public_url
    (public("https://login.corp.example/"), Code.URL, "public_url"),
    (public("https://login.corp.example/x?y"), Code.URL, "public_url"),
    (public("login.corp.example"), Code.URL, "public_url"),
    (public("https://u:p@login.corp.example"), Code.URL, "public_url"),
    (public("https://login.corp.example:x"), Code.URL, "public_url"),
    (public("http://login.corp.example"), Code.UNSAFE, "public_url"),
    (public("https://10.0.0.300"), Code.HOST, "public_url"),
    (public("http://login.localhost:8080"), Code.UNSAFE, "apps[0].host"),
    # providers
    (issuer("http://idp.corp.example"), Code.UNSAFE, "providers[0].issuer"),
    (issuer("idp.corp.example"), Code.URL, "providers[0].issuer"),
    (issuer("https://idp.corp.example?x=1"), Code.URL, "providers[0].issuer"),
    (issuer("https://idp.corp.example/.well-known/openid-configuration"), Code.URL, "providers[0].issuer"),
    (replace("client_id: gate", "client_id: ''"), Code.PROVIDER, "providers[0].client_id"),
    (provider("algorithms: [none]"), Code.PROVIDER, "providers[0].algorithms[0]"),
    (provider("algorithms: [HS256]"), Code.PROVIDER, "providers[0].algorithms[0]"),
    (provider("algorithms: []"), Code.PROVIDER, "providers[0].algorithms"),
    (provider("scopes: [profile]"), Code.PROVIDER, "providers[0].scopes"),
    (provider("authorize_params: {redirect_uri: x}"), Code.PROVIDER, "providers[0].authorize_params.redirect_uri"),
    (provider("ca: none.pem"), Code.FILE_NEEDED, "providers[0].ca"),
    (provider("ca: /dev/null"), Code.FILE_NEEDED, "providers[0].ca"),
    (
        replace("client_secret: {env: SECRET}", "client_auth: client_secret_basic"),
        Code.PROVIDER,
        "providers[0].client_auth",
    ),
    (GOOD.replace('  - {name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}\n', "  []\n"), Code.MISSING_KEY, "providers"),
    # apps
    (host("Wiki.corp.example"), Code.HOST, "apps[0].host"),
    (host("https://wiki.corp.example"), Code.HOST, "apps[0].host"),
    (host("wiki.corp.example:8443"), Code.HOST, "apps[0].host"),
    (host("a.*.example"), Code.HOST, "apps[0].host"),
    (host("wiki_x.example"), Code.HOST, "apps[0].host"),
    (host("-wiki.example"), Code.HOST, "apps[0].host"),
    (host("wïki.example"), Code.HOST, "apps[0].host"),
    (host("300.1.1.1"), Code.HOST, "apps[0].host"),
    (host("."), Code.HOST, "apps[0].host"),
    (upstream("10.0.0.5:8080"), Code.URL, "apps[0].upstream"),
    (upstream("http://"), Code.URL, "apps[0].upstream"),
    (upstream("http://x:99999"), Code.URL, "apps[0].upstream"),
    (upstream("http://x/base"), Code.URL, "apps[0].upstream"),
    (upstream("http://u:p@x"), Code.URL, "apps[0].upstream"),
    (upstream("http://a b"), Code.URL, "apps[0].upstream"),
    (upstream("unix:relative"), Code.URL, "apps[0].upstream"),
    (app("path_prefix: admin"), Code.URL, "apps[0].path_prefix"),
    (app("path_prefix: /a/*"), Code.URL, "apps[0].path_prefix"),
    (app("path_prefix: /.gate/x"), Code.URL, "apps[0].path_prefix"),
    (app("public_paths: [/a/../b]"), Code.URL, "apps[0].public_paths[0]"),
    (app("public_paths: ['/c%2B%2B']"), Code.URL, "apps[0].public_paths[0]"),
    (app("websocket_origins: [portal.example.org]"), Code.URL, "apps[0].websocket_origins[0]"),
    (app("websocket_origins: ['https://a', 'https://b/c']"), Code.URL, "apps[0].websocket_origins[1]"),
    (app("provider: crop"), Code.UNKNOWN_NAME, "apps[0].provider"),
    (app("body_bytes: 0B"), Code.RANGE, "apps[0].body_bytes"),
    (replace('"http://10.0.0.5:8080"', "[]"), Code.MISSING_KEY, "apps[0].upstream"),
    (replace('"http://10.0.0.5:8080"', '["http://a:1", "http://b/x"]'), Code.URL, "apps[0].upstream[1]"),
    (replace('"http://10.0.0.5:8080"', '["http://a:1", "http://a:1"]'), Code.ADDRESS_CLASH, "apps[0].upstream[1]"),
    (app("health: {path: healthz}"), Code.URL, "apps[0].health.path"),
    (app('health: {path: "/a?b c"}'), Code.URL, "apps[0].health.path"),
    (app("health: {path: /a, every: 0s}"), Code.RANGE, "apps[0].health.every"),
    (app("timeouts: {connect: 0s}"), Code.RANGE, "apps[0].timeouts.connect"),
    (app("add_prefix: x"), Code.URL, "apps[0].add_prefix"),
    (replace("http://10.0.0.5:8080", "http://localhost:8080"), Code.ADDRESS_CLASH, "apps[0].upstream"),
    (replace("http://10.0.0.5:8080", "http://127.0.0.1:8080"), Code.ADDRESS_CLASH, "apps[0].upstream"),
    (app("client_certificate: required"), Code.DEVICE, "apps[0].client_certificate"),
    (server("proxy_protocol: [10.0.0.1/8]"), Code.NETWORK, "server.proxy_protocol[0]"),
    (server("proxy_protocol: [0.0.0.0/0]"), Code.UNSAFE, "server.proxy_protocol[0]"),
    (app("add_prefix: /a/../b"), Code.URL, "apps[0].add_prefix"),
    (app("add_prefix: /a%2Fb"), Code.URL, "apps[0].add_prefix"),
    (app('path_prefix: "/a;b", strip_prefix: true'), Code.URL, "apps[0].path_prefix"),
    (GOOD.replace("apps:\n", TWO_APPS % ""), Code.ADDRESS_CLASH, "apps[1].host"),
    (GOOD.replace("apps:\n", TWO_APPS % ", path_prefix: /") , Code.ADDRESS_CLASH, "apps[1].host"),
    (GOOD.replace("apps:\n", (TWO_APPS % ", path_prefix: /x").replace("name: b", "name: wiki")), Code.DUPLICATE_NAME, "apps[1].name"),
    # sensors
    (auth("scheme: bearer, secrets: []"), Code.SECRET, "sensors[0].auth.secrets"),
    (auth("scheme: bearer, secrets: [{env: SECRET}, {env: SECRET}, {env: SECRET}]"), Code.SECRET, "sensors[0].auth.secrets"),
    (auth("scheme: bearer, secrets: [{env: NAME}]"), Code.SECRET, "sensors[0].auth.secrets[0]"),
    (auth("scheme: bearer, header: 'X Y', secrets: [{env: SECRET}]"), Code.FORM, "sensors[0].auth.header"),
    (auth("scheme: basic, username: 'a:b', secrets: [{env: SECRET}]"), Code.FORM, "sensors[0].auth.username"),
    (auth("scheme: basic, username: a, secrets: [{env: NAME}]"), Code.SECRET, "sensors[0].auth.secrets[0]"),
    (auth("scheme: hmac, signature_header: 'X Y', secrets: [{env: SECRET}]"), Code.FORM, "sensors[0].auth.signature_header"),
    (auth("scheme: hmac, signature_header: X, timestamp_header: 'X Y', message: '{timestamp}{body}', secrets: [{env: SECRET}]"), Code.FORM, "sensors[0].auth.timestamp_header"),
    (auth("scheme: hmac, signature_header: X, message: '{timestamp}{body}', secrets: [{env: SECRET}]"), Code.FORM, "sensors[0].auth.message"),
    (auth("scheme: hmac, signature_header: X, secrets: [{env: NAME}]"), Code.SECRET, "sensors[0].auth.secrets[0]"),
    (auth("scheme: hmac, signature_header: X, tolerance: 0s, secrets: [{env: SECRET}]"), Code.RANGE, "sensors[0].auth.tolerance"),
    (auth("scheme: hmac, signature_header: X, secrets: []"), Code.SECRET, "sensors[0].auth.secrets"),
    (auth("scheme: standard-webhooks, secrets: [{env: SECRET}]"), Code.SECRET, "sensors[0].auth.secrets[0]"),
    (auth("scheme: standard-webhooks, tolerance: 0s, secrets: [{env: WHSEC}]"), Code.RANGE, "sensors[0].auth.tolerance"),
    (auth("scheme: bearer, secrets: [{env: SECRET}]").replace("max_silence: null", "max_silence: 0s"), Code.RANGE, "sensors[0].max_silence"),
    # devices
    (GOOD + "devices: [{from: claim, claim: ''}]\n", Code.DEVICE, "devices[0].claim"),
    (GOOD + "devices: [{from: claim, claim: a..b}]\n", Code.DEVICE, "devices[0].claim"),
    (GOOD + "devices: [{from: claim, claim: a, kind: 'Serial No'}]\n", Code.FORM, "devices[0].kind"),
    (GOOD + "devices: [{from: certificate}]\n", Code.DEVICE, "devices[0]"),
    (GOOD + f"devices: [{{from: certificate, header: true, ca: {CA}}}]\n", Code.UNSAFE, "devices[0].header"),
    (server(PROXIES) + "devices: [{from: certificate, header: true}]\n", Code.DEVICE, "devices[0].header"),
    (server(PROXIES) + "devices: [{from: certificate, header: true, ca: none}]\n", Code.FILE_NEEDED, "devices[0].ca"),
    (
        server(PROXIES) + f"devices: [{{from: certificate, header: true, ca: {CA}, field: subject.cn}}]\n",
        Code.UNKNOWN_WORD,
        "devices[0].field",
    ),
    (
        server(PROXIES) + f"devices: [{{from: certificate, header: true, ca: {CA}, match: '('}}]\n",
        Code.PATTERN,
        "devices[0].match",
    ),
    (
        server(PROXIES) + f"devices: [{{from: certificate, header: true, ca: {CA}, match: '(a)(b)'}}]\n",
        Code.PATTERN,
        "devices[0].match",
    ),
    # networks
    (GOOD + "networks: [{name: o, cidrs: []}]\n", Code.NETWORK, "networks[0].cidrs"),
    (GOOD + "networks: [{name: o, cidrs: [nope]}]\n", Code.NETWORK, "networks[0].cidrs[0]"),
    (GOOD + "networks: [{name: o, cidrs: [10.0.0.1/8]}]\n", Code.NETWORK, "networks[0].cidrs[0]"),
    (GOOD + "networks: [{name: o, cidrs: [::/0]}, {name: o, cidrs: [::/0]}]\n", Code.DUPLICATE_NAME, "networks[1].name"),
    # compliance
    (GOOD + "compliance: {policies: [{name: p, rules: []}]}\n", Code.COMPLIANCE_RULE, "compliance.policies[0].rules"),
    (rules("type: risk, max: unknown"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0].max"),
    (rules("type: fact, fact: f"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0]"),
    (rules("type: fact, fact: f, equals: 1, at_least: '1'"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0]"),
    (rules("type: fact, fact: f, one_of: []"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0].one_of"),
    (rules("type: fact, fact: ' ', equals: 1"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0].fact"),
    (rules("type: fact, fact: f, at_least: 22H2"), Code.COMPLIANCE_RULE, "compliance.policies[0].rules[0].at_least"),
    (rules("type: fact, fact: f, equals: 1, max_age: 0s"), Code.RANGE, "compliance.policies[0].rules[0].max_age"),
    (rules("type: sensor, sensor: fleat, seen_within: 1d"), Code.UNKNOWN_NAME, "compliance.policies[0].rules[0].sensor"),
    (rules("type: sensor, sensor: fleet, seen_within: 0s"), Code.RANGE, "compliance.policies[0].rules[0].seen_within"),
    (
        rules("type: risk, max: low", "type: risk, max: low").replace("r1", "r0"),
        Code.DUPLICATE_NAME,
        "compliance.policies[0].rules[1].name",
    ),
    # access
    (policies("name: all, decision: block"), Code.DUPLICATE_NAME, "access.policies[1].name"),
    (policies("name: ' ', decision: block"), Code.FORM, "access.policies[1].name"),
    (policies("name: b, decision: restrict"), Code.ACCESS_POLICY, "access.policies[1].controls"),
    (policies("name: b, decision: block, controls: [read-only]"), Code.ACCESS_POLICY, "access.policies[1].controls"),
    (policies("name: b, decision: restrict, controls: [no_downlod]"), Code.UNKNOWN_WORD, "access.policies[1].controls[0]"),
    (policies("name: b, decision: step-up"), Code.ACCESS_POLICY, "access.policies[1].step_up"),
    (policies("name: b, decision: step-up, step_up: {}"), Code.ACCESS_POLICY, "access.policies[1].step_up"),
    (policies("name: b, decision: step-up, step_up: {max_age: 0s}"), Code.RANGE, "access.policies[1].step_up.max_age"),
    (policies("name: b, decision: allow, step_up: {max_age: 1h}"), Code.ACCESS_POLICY, "access.policies[1].step_up"),
    (policies("name: b, decision: allow, exclude: {}"), Code.ACCESS_POLICY, "access.policies[1].exclude"),
    (policies("name: b, decision: block, apps: [wikki]"), Code.UNKNOWN_NAME, "access.policies[1].apps[0]"),
    (policies("name: b, decision: block, when: {networks: [offise]}"), Code.UNKNOWN_NAME, "access.policies[1].when.networks[0]"),
    (policies("name: b, decision: block, when: {not_networks: [x]}"), Code.UNKNOWN_NAME, "access.policies[1].when.not_networks[0]"),
    (policies("name: b, decision: block, when: {providers: [x]}"), Code.UNKNOWN_NAME, "access.policies[1].when.providers[0]"),
    (policies("name: b, decision: block, when: {methods: [get]}"), Code.FORM, "access.policies[1].when.methods[0]"),
    (policies("name: b, decision: block, when: {paths: [admin]}"), Code.PATTERN, "access.policies[1].when.paths[0]"),
    (policies("name: b, decision: block, when: {paths: ['/%40me']}"), Code.PATTERN, "access.policies[1].when.paths[0]"),
    (policies("name: b, decision: block, when: {not_paths: [/a**]}"), Code.PATTERN, "access.policies[1].when.not_paths[0]"),
    (policies("name: b, decision: block, when: {device: [unknwn]}"), Code.UNKNOWN_WORD, "access.policies[1].when.device[0]"),
    # lifetimes
    (GOOD + "sessions: {idle: 0s}\n", Code.RANGE, "sessions.idle"),
    (GOOD + "sessions: {per_user: 0}\n", Code.RANGE, "sessions.per_user"),
    (GOOD + "decisions: {most: 0}\n", Code.RANGE, "decisions.most"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "path"), FAULTS, ids=lambda value: value if "\n" not in str(value) else ""
)
def test_one_mistake_is_one_fault_at_its_place(text, code, path):
    fault = one(text)
    assert (fault.code, fault.path) == (code, path)
    assert fault.line > 0


WARNINGS = [
    (BASE, Code.NOBODY_GETS_IN),
    (BASE + "access: {policies: [{name: a, decision: block}]}\n", Code.NOBODY_GETS_IN),
    (BASE + "access: {policies: [{name: a, decision: allow, mode: report}]}\n", Code.NOBODY_GETS_IN),
    (GOOD.replace("apps:\n", "apps:\n  - {name: b, host: b.x, upstream: 'http://x'}\n").replace("decision: allow", "decision: allow, apps: [wiki]"), Code.NOBODY_GETS_IN),
    (GOOD + "compliance: {uncovered: compliant}\n", Code.LENIENT),
    (app("public_paths: [/]"), Code.LENIENT),
    (
        BASE + "access: {policies: [{name: a, decision: allow, include: {groups: [x]}},"
        " {name: b, decision: restrict, controls: [read-only]}]}\n",
        Code.LENIENT,
    ),
    (server("ops: 0.0.0.0:9901"), Code.EXPOSED),
    (auth("scheme: bearer, secrets: [{env: SECRET}]").replace("max_silence: null, ", ""), Code.NO_SILENCE),
    (GOOD + "devices: [{from: claim, claim: host, kind: hostname}]\n", Code.WEAK_DEVICE),
    (generic("seriall"), Code.WEAK_DEVICE),
    (generic("serial_number"), Code.WEAK_DEVICE),
    (GOOD + "sessions: {idle: 2h, absolute: 1h}\n", Code.WITHOUT_EFFECT),
    (provider("client_auth: none"), Code.WITHOUT_EFFECT),
    (app("strip_prefix: true"), Code.WITHOUT_EFFECT),
    (app(f"upstream_ca: {CA}"), Code.WITHOUT_EFFECT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"), WARNINGS, ids=lambda value: value if "\n" not in str(value) else ""
)
def test_warnings(text, code):
    assert warnings(text) == [code]


SOUND = [
    generic("serial"),
    generic("asset-tag"),
    generic("cloud-instance-id"),
    public("https://login.corp.example:8443"),
    GOOD.replace("https://login.corp.example", "http://login.localhost:8080").replace(
        "wiki.corp.example", "wiki.localhost"
    ),
    issuer("http://localhost:3000"),
    issuer("https://idp.corp.example/realms/x/"),
    host("*.corp.example"),
    host("10.0.0.7"),
    host("xn--wki-goa.example"),
    upstream("http://10.0.0.5:8080/"),
    upstream("https://[::1]:8443"),
    upstream("unix:/run/app.sock"),
    app("path_prefix: /.gateway"),
    GOOD.replace("apps:\n", TWO_APPS % ", path_prefix: /x"),
    server(f"listen: 0.0.0.0:80, {PROXIES}"),
    server(f"tls: {{certificates: [{{cert: {CERT}, key: {KEY}}}]}}, listen: 0.0.0.0:443"),
    server(PROXIES) + f"devices: [{{from: certificate, header: true, ca: {CA}, match: 'device-(.+)'}}]\n",
    GOOD + "store: {url: 'sqlite:state.db'}\n",
    replace(", client_secret: {env: SECRET}", ""),
    auth("scheme: standard-webhooks, secrets: [{env: WHSEC}]"),
    auth("scheme: bearer, header: X-Token, secrets: [{env: SECRET}]"),
    auth("scheme: standard-webhooks, secrets: [{env: WHPK}]"),
    auth("scheme: basic, username: jamf, secrets: [{env: SECRET}]"),
    auth("scheme: hmac, signature_header: X-Hub-Signature-256, prefix: 'sha256=', secrets: [{env: SECRET}]"),
    policies("name: b, decision: block, when: {methods: [PROPFIND], paths: ['/a/**/b*', /]}"),
]


@pytest.mark.parametrize("text", SOUND)
def test_sound(text):
    assert load(text).warnings == ()


def test_a_fault_elsewhere_does_not_hide_names():
    """An app with a fault of its own is still an app that policies may name."""
    text = host("BAD").replace("decision: allow", "decision: allow, apps: [wiki]")
    assert one(text).path == "apps[0].host"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("gate.internal:65535", ("gate.internal", 65535)),
        ("[::1]", None),
        ("::1:80", None),
        ("127.0.0.1", None),
        ("127.0.0.1:\uff18\uff10", None),
        ("*:80", None),
        ("1.2.3:80", None),
        ("a b:80", None),
    ],
)
def test_listen(text, parsed):
    assert parse_listen(text) == parsed


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST.", "a.b.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_loopback(name):
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["", "localhost.example", "0.0.0.0", "128.0.0.1", "::", "notlocalhost"])  # noqa: S104
def test_not_loopback(name):
    assert not is_loopback(name)


def test_whsec_bounds():
    def whsec(size):
        import base64

        return Secret("whsec_" + base64.b64encode(b"x" * size).decode())

    assert [is_whsec(whsec(size)) for size in (23, 24, 64, 65)] == [False, True, True, False]
    assert not is_whsec(Secret("whsec_!!!!"))
    assert not is_whsec(Secret("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="))
