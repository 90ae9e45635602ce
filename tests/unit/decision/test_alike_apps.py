"""Apps that no policy tells apart are analysed once; what is said of each is still about itself."""

from pathlib import Path

from gateway.config.load import load_text
from gateway.decision.analysis import analysis_of, is_let_in
from gateway.hub.runtime import make_runtime

CONFIG = """\
public_url: https://login.corp.example
providers: [{name: idp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}]
apps:
  - {name: one, host: one.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: two, host: two.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: three, host: three.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: below, host: three.corp.example, path_prefix: /below, upstream: "http://10.0.0.5:8080"}
  - {name: many, host: "*.apps.corp.example", upstream: "http://10.0.0.5:8080"}
access:
  policies:
    - {name: staff, decision: allow, not_apps: [two], include: {groups: [staff]}%s}
"""


def analysed(when=""):
    text = CONFIG % when
    loaded = load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}, is_proving=False)
    return loaded.config, make_runtime(loaded.config, "")


def test_each_app_gets_an_example_of_its_own():
    config, meaning = analysed()
    found = analysis_of(config).findings()
    assert {each.app for each in found if each.kind == "closed"} == {"two"}
    examples = [each for each in found if each.kind == "open"]
    assert {each.app for each in examples} == {"one", "three", "below", "many"}
    for each in examples:
        assert each.example.app == each.app
        assert is_let_in(each.example, meaning)
        host = {app.name: app.host for app in config.apps}[each.app]
        assert each.example.host == host or host.startswith("*.")


def test_what_asks_for_hosts_tells_apps_apart():
    config, meaning = analysed(", when: {hosts: [one.corp.example]}")
    found = analysis_of(config).findings()
    assert {each.app for each in found if each.kind == "closed"} == {"two", "three", "below", "many"}
    assert all(is_let_in(each.example, meaning) for each in found if each.kind == "open")


def test_differences_are_told_for_each_app():
    config, meaning = analysed()
    before = analysed(", when: {device: [known]}")[0].access.policies
    found = list(analysis_of(config, before=before).differences(before))
    assert {each.app for each in found} == {"one", "three", "below", "many"}
    assert all(each.is_newly_let_in and is_let_in(each.example, meaning) for each in found)
