"""Named locations: address ranges, files of them, and countries by a real database."""

from ipaddress import ip_address

import pytest
from config_samples import GOOD, invalid, load
from country_samples import PLACES, write_countries

from gateway.config.errors import Code
from gateway.config.show import show
from gateway.countries import CountryFault, open_countries
from gateway.decision.routing import NamedNetworks
from gateway.locations import named_networks

NETWORKS = (
    GOOD
    + """\
networks:
  - {name: office, cidrs: [10.0.0.0/8], files: [office.txt]}
  - {name: home, countries: [DE]}
  - {name: nowhere, countries: [unknown]}
country_database: countries.mmdb
"""
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "office.txt").write_text("# head office\n203.0.113.0/25\n\n2001:db8::/32 # and IPv6\n")
    write_countries(tmp_path / "countries.mmdb")
    return tmp_path


def networks_of(text, folder):
    config = load(text, base=folder).config
    return named_networks(config.networks, config.country_database)


def test_ranges_files_and_countries_hold_addresses(folder):
    networks = networks_of(NETWORKS, folder)
    assert networks.containing_text("10.9.8.7") == {"office", "nowhere"}
    assert networks.containing_text("203.0.113.5") == {"office"}
    assert networks.containing_text("203.0.113.200") == frozenset()
    assert networks.containing_text("198.51.100.1") == {"home"}
    assert networks.containing_text("::ffff:198.51.100.1") == {"home"}
    assert networks.containing_text("2001:db8:7::1") == {"office", "home"}
    assert networks.containing_text("no address") == {"nowhere"}
    assert networks.containing_text("10.9.8.7", "DE") == {"office", "home"}


def test_the_next_load_takes_what_the_files_say_then(folder):
    assert networks_of(NETWORKS, folder).containing_text("192.0.2.1") == {"nowhere"}
    (folder / "office.txt").write_text("192.0.2.0/24\n")
    write_countries(folder / "countries.mmdb", {"DE": ["192.0.2.0/24"]})
    assert networks_of(NETWORKS, folder).containing_text("192.0.2.1") == {"office", "home"}


def test_what_is_shown_leaves_the_lines_of_files_out(folder):
    assert "203.0.113.0/25" not in show(load(NETWORKS, base=folder))


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (lambda code: {"country": {"iso_code": code}}, "DE"),
        (lambda code: {"country": code}, "DE"),
        (lambda code: {"country_code": code.lower()}, "DE"),
        (lambda _: {"city": "Berlin"}, "unknown"),
        (lambda _: {"country": {"iso_code": 7}}, "unknown"),
        (lambda _: {"country": "Germany"}, "unknown"),
    ],
)
def test_records_of_several_makers_are_read(tmp_path, record, code):
    write_countries(tmp_path / "c.mmdb", PLACES, record)
    country_of = open_countries(tmp_path / "c.mmdb")
    assert country_of(ip_address("198.51.100.1")) == code
    assert country_of(ip_address("127.0.0.1")) == "unknown"


def test_an_open_database_outlives_its_file(tmp_path):
    write_countries(tmp_path / "c.mmdb")
    country_of = open_countries(tmp_path / "c.mmdb")
    (tmp_path / "c.mmdb").write_bytes(b"")
    assert country_of(ip_address("198.51.100.1")) == "DE"
    with pytest.raises(CountryFault):
        open_countries(tmp_path / "c.mmdb")


@pytest.mark.parametrize(
    ("old", "new", "code", "path", "text"),
    [
        ("office.txt", "offices.txt", Code.FILE_NEEDED, "networks[0].files[0]", "No such file"),
        ("office.txt", "bad.txt", Code.NETWORK, "networks[0].files[0]", "line 2"),
        ("office.txt", "empty.txt", Code.NETWORK, "networks[0].files[0]", "holds no address range"),
        ("countries: [DE]", "countries: [de]", Code.FORM, "networks[1].countries[0]", "`de` is no code"),
        ("countries: [DE]", "countries: [Germany]", Code.FORM, "networks[1].countries[0]", "no code"),
        (
            "country_database: countries.mmdb",
            "",
            Code.NETWORK,
            "networks[1].countries",
            "no country database",
        ),
        ("countries.mmdb", "office.txt", Code.FILE_NEEDED, "country_database", "MaxMind"),
        ("countries.mmdb", "none.mmdb", Code.FILE_NEEDED, "country_database", "No such file"),
        (
            "cidrs: [10.0.0.0/8], files: [office.txt]",
            "cidrs: []",
            Code.NETWORK,
            "networks[0].cidrs",
            "no address",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(folder, old, new, code, path, text):
    (folder / "bad.txt").write_text("10.0.0.0/8\n10.0.0.1/8\n")
    (folder / "empty.txt").write_text("# nothing yet\n")
    faults = invalid(NETWORKS.replace(old, new), base=folder).faults
    assert (code, path) in {(fault.code, fault.path) for fault in faults}
    assert any(text in fault.message for fault in faults)


def test_a_limit_by_country_that_spares_the_unknown_is_pointed_at(folder):
    policy = "    - {name: b, decision: block, when: {networks: [home]}}\n"
    text = NETWORKS.replace("decision: allow}\n", "decision: allow}\n" + policy)
    (warning,) = load(text, base=folder).warnings
    assert warning.code is Code.LENIENT
    assert "unknown" in warning.hint


def test_many_ranges_are_looked_up_as_few_are():
    ranges = tuple(f"10.{high}.{low}.0/25" for high in range(256) for low in range(0, 256, 2))
    networks = NamedNetworks({"many": ranges, "ten": ("10.0.0.0/8",)})
    assert networks.containing_text("10.7.8.1") == {"many", "ten"}
    assert networks.containing_text("10.7.8.200") == {"ten"}
    assert networks.containing_text("11.0.0.0") == frozenset()
    assert networks.containing_text("0.0.0.1") == frozenset()
    assert NamedNetworks({"all": ("0.0.0.0/0",)}).containing_text("255.255.255.255") == {"all"}
