"""Session profiles that cannot be meant are refused with their place; what the documentation shows works as shown."""

import http.server
import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config.errors import ConfigInvalid
from gateway.config.load import LoadedConfig, load_text
from gateway.decision.assertion import AssertionSigner

DOCS = Path(__file__).parents[3] / "docs"
BASE = """\
version: 1
public_url: https://login.corp.example
providers: [{name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: HOOK_SECRET}}]
apps: [{name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}]
"""
ALLOW = "access: {policies: [{name: all, decision: allow}]}\n"


def load(text: str) -> LoadedConfig:
    return load_text(text, Path("/nowhere/gate.yaml"), {"HOOK_SECRET": "x" * 32})


@pytest.mark.parametrize(
    ("profile", "path"),
    [
        ("", "session_profiles[0]"),
        ("no_downloads: {display: [pdf]}", "session_profiles[0].no_downloads.display[0]"),
        ("no_downloads: {hosts: ['https://a.example']}", "session_profiles[0].no_downloads.hosts[0]"),
        ("no_downloads: {hosts: ['*']}", "session_profiles[0].no_downloads.hosts[0]"),
        ("no_downloads: {sandboxed: true}", "session_profiles[0].no_downloads.sandboxed"),
        ("no_uploads: {max_bytes: -1}", "session_profiles[0].no_uploads.max_bytes"),
        ("read_only: {methods: [get]}", "session_profiles[0].read_only.methods[0]"),
        ("read_only: {graphql: [graphql]}", "session_profiles[0].read_only.graphql[0]"),
        ("hidden_paths: [/a**]", "session_profiles[0].hidden_paths[0]"),
        ("headers: {csp: \"default-src 'none', img-src *\"}", "session_profiles[0].headers.csp"),
        ("headers: {referrer: never}", "session_profiles[0].headers.referrer"),
        ("requests_per_minute: 0", "session_profiles[0].requests_per_minute"),
        ("requests_per_minute: 1000000", "session_profiles[0].requests_per_minute"),
        ("reauthenticate: 0s", "session_profiles[0].reauthenticate"),
        ("reauthenticate: 59s", "session_profiles[0].reauthenticate"),
        ("watermark: true", "session_profiles[0].watermark"),
        ("banner: page", "session_profiles[0].banner"),
    ],
)
def test_faults_name_their_place(profile: str, path: str) -> None:
    text = BASE + ALLOW + "session_profiles: [{" + ", ".join(filter(None, ["name: p", profile])) + "}]\n"
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    assert path in str(caught.value)


def test_the_documented_profile_loads() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "restricted-sessions.md").read_text(), re.DOTALL)
    (profile,) = load(BASE + shown).config.session_profiles
    assert profile.no_downloads is not None
    assert profile.reauthenticate == 1800


def test_the_documented_verification_works() -> None:
    """With the real key set over HTTP, and a signed assertion as an app gets it."""
    signer = AssertionSigner(ec.generate_private_key(ec.SECP256R1()))
    body = json.dumps(signer.jwks()).encode()

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            return

    verify, restrict = re.findall(r"```python\n(.*?)```", (DOCS / "apps.md").read_text(), re.DOTALL)
    with http.server.HTTPServer(("127.0.0.1", 0), Keys) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        there = re.sub(r"https://[^\"]*jwks\.json", address, verify)
        scope: dict[str, object] = {}
        exec(there + restrict, scope)  # noqa: S102 - the documentation is ours
        token = signer.sign(
            {
                "iss": "https://login.example.org",
                "aud": "wiki.example.org",
                "sub": "u1",
                "gate": {"restrictions": ["no-downloads"]},
            },
            datetime.now(UTC),
        )
        request = type("Request", (), {"headers": {"X-Gate-Jwt": token}})
        claims = scope["who"](request)
        server.shutdown()
    assert claims["sub"] == "u1"
    assert scope["may_download"](claims) is False
