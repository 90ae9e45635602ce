"""`posturegate check` and `posturegate config`: what is printed, and the exit code."""

import json

import pytest

from gateway.cli import main
from gateway.cli.check import load_or_print

GOOD = """\
version: 1
public_url: https://login.corp.example
server: {run_dir: run}
store: {url: 'sqlite:state.db'}
providers: [{name: corp, issuer: "http://127.0.0.1:1", client_id: gate}]
apps: [{name: wiki, host: wiki.corp.example, upstream: "http://127.0.0.1:1"}]
access: {policies: [{name: all, decision: allow}]}
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a configuration and gives its path."""

    def write_config(text):
        path = tmp_path / "gate.yaml"
        path.write_text(text)
        return str(path)

    return write_config


def test_a_sound_configuration(write, capsys):
    path = write(GOOD)
    assert main(["check", "--config", path]) == 0
    assert capsys.readouterr().out == f"{path}: configuration is valid\n"


def test_faults_are_printed_with_their_places(write, capsys):
    path = write(GOOD.replace("decision: allow", "decision: alow").replace("version: 1", "version: 3"))
    assert main(["check", "--config", path]) == 2
    assert capsys.readouterr().out == (
        f"{path}:1:10: error GATE-C012 version: unknown version `3`\n"
        "      known: 1\n"
        f"{path}:7:43: error GATE-C012 access.policies[0].decision: unknown decision `alow`\n"
        "      did you mean `allow`? known: allow, restrict, step-up, remediate, block\n"
        "2 errors: not loadable\n"
    )


def test_a_warning_is_no_error_unless_asked(write, capsys):
    path = write(GOOD.replace("decision: allow", "decision: block"))
    assert main(["check", "--config", path]) == 0
    out = capsys.readouterr().out
    assert f"{path}:7:10: warning GATE-W003 access.policies: no access policy lets anybody in" in out
    assert out.endswith("1 warning: may be used\n")
    assert main(["check", "--strict", "--config", path]) == 2
    assert capsys.readouterr().out.endswith("1 warning: not loadable\n")


def test_json(write, capsys):
    assert main(["check", "--json", "--config", write(GOOD.replace("version: 1", "version: 3"))]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["valid"] is False
    (fault,) = result["faults"]
    assert (fault["code"], fault["line"], fault["column"], fault["path"]) == ("GATE-C012", 1, 10, "version")
    assert main(["check", "--json", "--config", write(GOOD)]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True


def test_live_checks_list_each_thing(write, capsys):
    """Nobody listens on port 1: the store is well, provider and upstream are not."""
    assert main(["check", "--live", "--config", write(GOOD)]) == 1
    out = capsys.readouterr().out
    assert "ok      store sqlite:state.db\n" in out
    assert "failed  provider corp http://127.0.0.1:1: " in out
    assert "failed  app wiki http://127.0.0.1:1: connection refused\n" in out
    assert out.endswith("2 live checks failed\n")


def test_live_checks_do_not_run_for_an_invalid_configuration(write, capsys):
    assert main(["check", "--live", "--config", write("{}")]) == 2
    assert "failed" not in capsys.readouterr().out


def test_a_missing_file(tmp_path, capsys):
    path = str(tmp_path / "none.yaml")
    assert main(["check", "--config", path]) == 2
    out = capsys.readouterr().out
    assert f"{path}: error GATE-C001 cannot read the configuration: No such file" in out
    assert "$POSTUREGATE_CONFIG names it; `posturegate init`" in out


def test_load_or_print(write, capsys):
    loaded = load_or_print(write(GOOD.replace("decision: allow", "decision: block")))
    assert loaded is not None
    assert "GATE-W003" in capsys.readouterr().err
    assert load_or_print(write("a: 1")) is None
    assert "not loadable" in capsys.readouterr().err


# --- config --------------------------------------------------------------------------------------------


def test_config_schema(capsys):
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Posturegate configuration"


def test_config_reference(capsys):
    assert main(["config", "reference"]) == 0
    assert capsys.readouterr().out.startswith("# Configuration reference")


def test_config_show(write, capsys):
    path = write(GOOD)
    assert main(["config", "show", "--config", path]) == 0
    assert "public_url: https://login.corp.example" in capsys.readouterr().out
    assert main(["config", "show", "--origin", "--config", path]) == 0
    assert f"version = 1   # {path}:1" in capsys.readouterr().out
    assert main(["config", "show", "--config", write("a: 1")]) == 2
