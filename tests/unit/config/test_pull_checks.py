"""Checks of how products are asked, and of products that ask."""

# ruff: noqa: E501 - a table of cases reads best with one case to a line

import pytest
from config_samples import GOOD, load, one

from gateway.config.errors import Code

FLEET = "{name: fleet, kind: fleet, max_silence: 1h, auth: {scheme: bearer, secrets: [{env: SECRET}]}, pull: PULL}"
TOKEN = "token: {env: SECRET}"


def sensor(text):
    return f"{GOOD}sensors:\n  - {text}\n"


def pull(text, kind="fleet"):
    return sensor(FLEET.replace("PULL", f"{{{text}}}").replace("kind: fleet", f"kind: {kind}"))


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        (pull(f"url: https://fleet.example, {TOKEN}, interval: 1s"), Code.RANGE, "sensors[0].pull.interval"),
        (pull(f"url: https://fleet.example, {TOKEN}, page_size: 5000"), Code.RANGE, "sensors[0].pull.page_size"),
        (pull(f"url: http://fleet.example, {TOKEN}"), Code.UNSAFE, "sensors[0].pull.url"),
        (pull(f"url: 'ftp://fleet.example', {TOKEN}"), Code.URL, "sensors[0].pull.url"),
        (pull(f"url: 'https://a:b@fleet.example', {TOKEN}"), Code.URL, "sensors[0].pull.url"),
        (pull("url: https://fleet.example"), Code.MISSING_KEY, "sensors[0].pull"),
        (pull(TOKEN), Code.MISSING_KEY, "sensors[0].pull"),
        (pull(f"url: https://x.example, {TOKEN}", "okta"), Code.SENSOR_KIND, "sensors[0].pull"),
        (pull(f"url: https://x.example, {TOKEN}, ca: nowhere.pem"), Code.FILE_NEEDED, "sensors[0].pull.ca"),
        (pull("client_id: a, client_secret: {env: SECRET}", "intune"), Code.MISSING_KEY, "sensors[0].pull"),
        (
            sensor("{name: w, kind: okta, max_silence: null, auth: {scheme: cloudflare-access, team: 'https://t.example', audiences: [a]}}"),
            Code.SENSOR_KIND,
            "sensors[0].auth",
        ),
        (
            sensor("{name: w, kind: cloudflare, max_silence: null, auth: {scheme: cloudflare-access, team: 'https://t.example', audiences: []}}"),
            Code.UNSAFE,
            "sensors[0].auth.audiences",
        ),
        (sensor("{name: operator, kind: okta, max_silence: null, auth: {scheme: bearer, secrets: [{env: SECRET}]}}"), Code.DUPLICATE_NAME, "sensors[0].name"),
        (sensor("{name: s, kind: okta, max_silence: null, auth: {scheme: bearer, secrets: [{env: SECRET}]}, subjects: {about: []}}"), Code.RANGE, "sensors[0].subjects.about"),
        (f"{GOOD}risk:\n  correlation: [{{name: a, level: high, count: 1}}]\n", Code.RANGE, "risk.correlation[0].count"),
        (f"{GOOD}risk:\n  correlation: [{{name: a, level: high}}, {{name: a, level: high}}]\n", Code.DUPLICATE_NAME, "risk.correlation[1].name"),
        (f"{GOOD}risk:\n  decay: [{{after: low, level: high, lasts: 1h}}]\n", Code.RANGE, "risk.decay[0].level"),
        (f"{GOOD}risk:\n  decay: [{{after: high, level: high, lasts: 0s}}]\n", Code.RANGE, "risk.decay[0].lasts"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_fault(text, code, path):
    fault = one(text)
    assert (fault.code, fault.path) == (code, path)


def test_what_is_right_is_taken():
    text = pull(f"url: 'https://fleet.example/', {TOKEN}, interval: 5m")
    assert load(text).config.sensors[0].pull.interval == 300.0
    loopback = pull(f"url: 'http://127.0.0.1:8080', {TOKEN}")
    assert load(loopback).config.sensors[0].pull.url == "http://127.0.0.1:8080"


def test_a_ca_that_holds_no_certificate_is_refused_before_the_product_is_asked(tmp_path):
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate\n")
    fault = one(pull(f"url: https://x.example, {TOKEN}, ca: {broken}"))
    assert (fault.code, fault.path) == (Code.FILE_NEEDED, "sensors[0].pull.ca")
    assert "holds no certificate" in fault.message
