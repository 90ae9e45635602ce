"""docs/providers.md is true: each example loads, and the addresses are those that the gateway answers."""

import re
from pathlib import Path

import pytest
import trustme

from gateway.config.load import load
from gateway.oidc.discovery import metadata_url

PAGE = Path(__file__).resolve().parents[3] / "docs" / "providers.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
BASE, EXAMPLES = BLOCKS[0], BLOCKS[1:]
ENVIRONMENT = {"GATE_CLIENT_SECRET": "s" * 32, "GATE_PARTNERS_SECRET": "p" * 32}


def name_of(example: str) -> str:
    return re.search(r"name: (\S+)", example)[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_examples_load(tmp_path, example):
    secret = tmp_path / "okta-client-secret"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    trustme.CA().cert_pem.write_to_path(tmp_path / "device-ca.pem")
    file = tmp_path / "gate.yaml"
    file.write_text(BASE + example)
    loaded = load(file, ENVIRONMENT)
    assert loaded.warnings == ()
    for provider in loaded.config.providers:
        assert provider.client_secret is not None
        assert metadata_url(provider.issuer).startswith("https://")


def test_every_provider_of_the_page_has_an_example():
    assert [name_of(each) for each in EXAMPLES] == [
        "keycloak", "entra", "okta", "google", "authentik", "dex", "staff",
    ]  # fmt: skip


def test_the_addresses_are_the_gateways_own():
    source = "".join(path.read_text() for path in (PAGE.parents[1] / "gateway" / "hub").glob("signin*.py"))
    addresses = set(re.findall(r"https://login\.example\.org(/\.gate/[a-z-]+)", PAGE.read_text()))
    assert addresses == {"/.gate/callback", "/.gate/signed-out", "/.gate/backchannel-logout"}
    assert all(f'"{address}"' in source for address in addresses)


def test_the_codes_are_codes():
    """Whoever searches for what the log says finds what the code says."""
    codes = re.findall(r"`((?:[a-z]+-)+[a-z]+)`", PAGE.read_text().rpartition("## ")[2])
    source = "".join(
        path.read_text()
        for folder in ("oidc", "hub")
        for path in (PAGE.parents[1] / "gateway" / folder).glob("*.py")
    )
    assert codes
    assert [code for code in codes if f'"{code}"' not in source] == []
