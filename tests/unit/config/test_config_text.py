"""The file as YAML: what it is refused for, and where the fault is said to be."""

import pytest
from config_samples import GOOD, load, one

from gateway.config.errors import Code, ConfigInvalid
from gateway.config.load import load as load_file
from gateway.config.text import MAX_DEPTH, MAX_ENTRIES, MAX_FILE_BYTES, MAX_NODES


def place(fault):
    return fault.line, fault.column


@pytest.mark.parametrize(
    ("text", "where", "part"),
    [
        ("a: [1, 2", (1, 9), "expected"),
        ("a:\n\t- b", (2, 1), "cannot start any token"),
        ("a: b: c", (1, 5), "mapping values are not allowed"),
        ("a: *x", (1, 4), "undefined alias"),
        ('a: "x', (1, 6), "end of stream"),
        ("a: 1\n---\nb: 2\n", (2, 1), "another document"),
        ("a: x\x00y", (1, 5), "U+0000"),
        ("a: 1\nb: \x1b[31m", (2, 4), "U+001B"),
        ("%YAML 1.1\n---\na: no\n", (1, 1), "YAML 1.2"),
        ("{a: 1", (1, 6), "expected"),
        ("a: !!binary aGk=\n", None, "tag"),
    ],
)
def test_syntax_faults_have_a_place(text, where, part):
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    fault = next(each for each in caught.value.faults if each.code is Code.SYNTAX or part == "tag")
    assert part in fault.message or part == "tag"
    assert where is None or place(fault) == where


def test_tabs_get_a_hint():
    assert one("a:\n\t- b").hint == "indent with spaces, not with tabs"


def test_a_tag_of_another_kind_is_refused():
    fault = one(GOOD.replace("version: 1", "version: !int 1"))
    assert (fault.code, fault.path) == (Code.SYNTAX, "version")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\n\n"])
def test_an_empty_file_is_a_fault(text):
    assert one(text).code in {Code.FILE, Code.WRONG_TYPE}


@pytest.mark.parametrize("text", ["- a\n", "text\n", "[]\n"])
def test_the_root_is_a_mapping(text):
    assert one(text).code is Code.WRONG_TYPE


def test_a_key_that_stands_twice_names_both_places():
    fault = one(GOOD + "server: {}\nserver: {drain: 5s}\n")
    assert fault.code is Code.DUPLICATE_KEY
    assert place(fault) == (11, 1)
    assert "first in line 10" in fault.message


def test_aliases_that_multiply_are_counted_and_not_built():
    laughs = "x-0: &x0 [a, a, a, a, a, a, a, a, a, a]\n"
    laughs += "".join(f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12))
    fault = one(laughs + GOOD)
    assert fault.code is Code.UNBOUNDED
    assert f"{MAX_NODES:,}" in fault.message


def test_an_alias_inside_what_it_names_is_refused():
    assert one("x-a: &a [*a]\n" + GOOD).code is Code.UNBOUNDED


def test_depth_is_bounded():
    assert one("x-a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + "\n" + GOOD).code is Code.UNBOUNDED
    assert one("x-a: " + "[" * 5000 + "\n").code in {Code.UNBOUNDED, Code.SYNTAX}


def test_anchors_and_merges_work():
    text = """\
x-app: &app {upstream: "http://10.0.0.5:8080", owner: hr}
version: 1
public_url: https://login.corp.example
providers: [{name: corp, issuer: "https://idp.corp.example", client_id: gate}]
apps:
  - {<<: *app, name: a, host: a.corp.example}
  - <<: [*app]
    name: b
    host: b.corp.example
    owner: own
"""
    apps = load(text).config.apps
    assert [(app.name, app.owner) for app in apps] == [("a", "hr"), ("b", "own")]


# --- files ---------------------------------------------------------------------------------------------


def file_fault(path):
    with pytest.raises(ConfigInvalid) as caught:
        load_file(path, {})
    (fault,) = caught.value.faults
    assert fault.code is Code.FILE
    return fault


def test_a_missing_file_is_fatal(tmp_path):
    assert "No such file" in file_fault(tmp_path / "none.yaml").message
    assert "directory" in file_fault(tmp_path).message.lower()


def test_a_huge_file_is_not_read(tmp_path):
    file = tmp_path / "gate.yaml"
    file.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "larger" in file_fault(file).message


def test_too_many_policies_are_refused_where_they_begin():
    """Before anything is checked, and before the file is read to its end: what follows is not even YAML."""
    policies = "".join(f"    - {{name: p{n}, decision: allow}}\n" for n in range(MAX_ENTRIES + 1))
    fault = one(f"access:\n  policies:\n{policies}] {{ : not: yaml\n")
    assert fault.code is Code.UNBOUNDED
    assert place(fault) == (MAX_ENTRIES + 3, 7)
    assert fault.path == "access.policies"
    assert f"{MAX_ENTRIES:,}" in fault.message
    assert "groups" in fault.hint


def test_too_many_values_are_refused_where_they_begin(monkeypatch):
    monkeypatch.setattr("gateway.config.text.MAX_NODES", 50)
    fault = one("x-a: [\n" + "a,\n" * 60 + ": not: yaml")
    assert fault.code is Code.UNBOUNDED
    assert place(fault) == (49, 1)
    assert "more than 50 values" in fault.message


def test_bytes_that_are_not_utf8_have_a_place(tmp_path):
    file = tmp_path / "gate.yaml"
    file.write_bytes("a: 1\nbé: ".encode() + b"\xff\n")
    fault = file_fault(file)
    assert place(fault) == (2, 5)
    assert "0xff" in fault.message


def test_a_byte_order_mark_is_nothing(tmp_path):
    file = tmp_path / "gate.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_file(file, {"SECRET": "0123456789abcdef"}).config.version == 1
