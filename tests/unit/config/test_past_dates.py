"""Dates that have passed when the configuration is loaded are warned of: where they stand, and since when."""

from datetime import UTC, datetime

import pytest
import trustme
from config_samples import GOOD, load

from gateway.cli.check import fault_text
from gateway.config.errors import Code

DATED = (
    GOOD
    + """\
compliance:
  policies:
    - name: laptops
      rules:
        - {type: fact, name: disk, fact: disk_encrypted, equals: true}
        - {type: fact, name: patched, fact: last_update, newer_than: 30d, level: warn-until, warn_until: "2027-01-01"}
  exemptions:
    - {rule: laptops/disk, devices: [lab-7], reason: broken, author: carol, expires: "2027-03-31T10:00:00+02:00"}
"""
)


@pytest.mark.parametrize(
    ("now", "paths"),
    [
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), []),
        (datetime(2027, 1, 1, tzinfo=UTC), ["compliance.policies[0].rules[1].warn_until"]),
        (
            datetime(2027, 3, 31, 8, tzinfo=UTC),
            ["compliance.policies[0].rules[1].warn_until", "compliance.exemptions[0].expires"],
        ),
    ],
)
def test_a_date_is_warned_of_from_the_instant_at_which_it_is_reached(now, paths):
    found = load(DATED, now=now).warnings
    assert [each.path for each in found] == paths
    assert {each.code for each in found} <= {Code.PAST}


def test_the_warning_names_place_key_and_since_when():
    found = load(DATED, now=datetime(2027, 4, 3, 9, tzinfo=UTC)).warnings
    assert fault_text(found[1]) == (
        "/nowhere/gate.yaml:17:86: warning GATE-W010 compliance.exemptions[0].expires: the exemption from"
        " `laptops/disk` has not counted since 2027-03-31 08:00 UTC, 3 d ago\n"
        "      remove it, or decide it again with a later date"
    )
    assert "rule `patched` has been required since 2027-01-01 00:00 UTC, 92 d ago" in found[0].message


def test_a_certificate_that_has_expired_is_warned_of(tmp_path):
    """It can be loaded, and every browser refuses it."""
    ended = datetime(2026, 6, 1, tzinfo=UTC)
    issued = trustme.CA().issue_cert("login.corp.example", not_after=ended)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    text = GOOD + "server: {tls: {certificates: [{cert: cert.pem, key: key.pem}]}}\n"
    (warning,) = load(text, base=tmp_path, now=datetime(2026, 6, 2, tzinfo=UTC)).warnings
    assert (warning.code, warning.path) == (Code.PAST, "server.tls.certificates[0].cert")
    assert "has been expired since 2026-06-01 00:00 UTC, 1 d ago" in warning.message
    assert load(text, base=tmp_path, now=datetime(2026, 5, 31, tzinfo=UTC)).warnings == ()
