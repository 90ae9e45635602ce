"""A configuration over several files: what may stand where, and whose line a fault names."""

import pytest
from config_samples import BASE, GOOD, load, one

from gateway.config.errors import Code
from gateway.config.text import MAX_ENTRIES

POLICY = "access: {policies: [{name: second, decision: allow, when: {networks: [office]}}]}\n"
NETWORKS = "networks: [{name: office, cidrs: [203.0.113.0/24]}]\n"


@pytest.fixture
def write(tmp_path):
    def write_files(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write_files


def test_lists_are_added_to(write):
    base = write(
        policies__a=POLICY,
        policies__b=NETWORKS
        + "compliance: {policies: [{name: laptop, rules: [{type: risk, name: r, max: low}]}]}\n",
        apps="apps: [{name: pay, host: pay.corp.example, upstream: 'http://10.0.0.6'}]\n",
    )
    config = load(GOOD + "include: [apps.yaml, policies/*.yaml]\n", base=base).config
    assert [each.name for each in config.access.policies] == ["all", "second"]
    assert [each.name for each in config.apps] == ["wiki", "pay"]
    assert [each.name for each in config.compliance.policies] == ["laptop"]
    assert [each.name for each in config.networks] == ["office"]


def test_files_include_files(write):
    base = write(first="include: [more/*.yaml]\n" + POLICY, more__networks=NETWORKS)
    config = load(BASE + "include: [first.yaml]\n", base=base).config
    assert [each.name for each in config.networks] == ["office"]
    assert [each.name for each in config.access.policies] == ["second"]


def test_origins_and_faults_name_the_file(write):
    base = write(second="\n" + POLICY, third=NETWORKS)
    loaded = load(GOOD + "include: [second.yaml, third.yaml]\n", base=base)
    assert loaded.origins["access.policies[1].name"] == f"{base}/second.yaml:2"
    assert loaded.origins["access.policies[0].name"] == f"{base}/gate.yaml:9"
    (base / "third.yaml").unlink()
    fault = one(GOOD + "include: [second.yaml]\n", base=base)
    assert (fault.file, fault.line, fault.path) == (
        f"{base}/second.yaml",
        2,
        "access.policies[1].when.networks[0]",
    )
    (base / "second.yaml").write_text("\n\naccess: {policies: [{name: second, decision: alow}]}\n")
    fault = one(GOOD + "include: [second.yaml]\n", base=base)
    assert (fault.file, fault.line) == (f"{base}/second.yaml", 3)
    assert "allow" in fault.hint
    (base / "second.yaml").write_text("access: {policies: [\n")
    fault = one(GOOD + "include: [second.yaml]\n", base=base)
    assert fault.file == f"{base}/second.yaml"


def test_the_order_of_files_never_matters_but_their_text_does(write):
    base = write(a=POLICY, b=NETWORKS)
    one_way = load(BASE + "include: [a.yaml, b.yaml]\n", base=base)
    other = load(BASE + "include: [b.yaml, a.yaml]\n", base=base)
    assert one_way.config.access == other.config.access
    before = one_way.revision
    (base / "b.yaml").write_text(NETWORKS.replace("203.0.113.0/24", "203.0.113.0/25"))
    assert load(BASE + "include: [a.yaml, b.yaml]\n", base=base).revision != before


@pytest.mark.parametrize(
    ("included", "line", "said"),
    [
        ("server: {drain: 1s}\n", 1, "`server` belongs into the first file"),
        ("acces: {policies: []}\n", 1, "did you mean `access`"),
        ("compliance: {uncovered: compliant}\n", 1, "`compliance.uncovered` belongs into the first file"),
        ("access: [x]\n", 1, "`access` is a section of keys"),
        ("networks: {name: office}\n", 1, "`networks` is a list"),
        ("\ninclude: second.yaml\n", 2, "`include` is a list of files"),
        ("include: [gate.yaml, second.yaml]\n", 1, "includes itself"),
        ("include: [../x.yaml]\n", 1, "is not below this folder"),
        ("include: [nothing/*.yaml]\n", 1, "no file matches"),
    ],
)
def test_what_may_not_stand_in_an_included_file(write, included, line, said):
    base = write(second=included, gate=GOOD)
    fault = one(GOOD + "include: [second.yaml]\n", base=base)
    assert (fault.file, fault.line) == (f"{base}/second.yaml", line)
    assert said in f"{fault.message} {fault.hint}"


def test_depth_and_number_are_bounded(write):
    deep = {f"d{number}": f"include: [d{number + 1}.yaml]\n" for number in range(9)}
    fault = one(GOOD + "include: [d0.yaml]\n", base=write(**deep))
    assert "deeper than 4" in fault.message
    many = {f"many__m{number}": "networks: []\n" for number in range(201)}
    fault = one(GOOD + "include: [many/*.yaml]\n", base=write(**many))
    assert "more than 200 files" in fault.message


def test_a_list_is_bounded_over_all_files(write):
    many = "access:\n  policies:\n" + "".join(
        f"    - {{name: p{n}, decision: allow}}\n" for n in range(MAX_ENTRIES)
    )
    base = write(many=many)
    fault = one(GOOD + "include: [many.yaml]\n", base=base)
    assert fault.code is Code.UNBOUNDED
    assert fault.file.endswith("many.yaml")
    assert f"more than {MAX_ENTRIES:,} entries of `policies` in all files" in fault.message


def test_a_name_twice_in_two_files(write):
    base = write(second="access: {policies: [{name: all, decision: block}]}\n")
    fault = one(GOOD + "include: [second.yaml]\n", base=base)
    assert fault.file == f"{base}/second.yaml"
    assert "two access policies are named" in fault.message
