"""`posturegate init`: what it writes passes `check`, is private where it must be, and destroys nothing."""

import stat

import pytest

from gateway.cli import main
from gateway.cli.check import load_or_print

FLAGS = {
    "--issuer": "https://idp.corp.example",
    "--client-id": "gate",
    "--client-secret": "s3cret: with # and {braces}",
    "--app-host": "wiki.corp.example",
    "--upstream": "http://10.0.0.5:8080",
}


def init(folder, *more, **changed):
    flags = FLAGS | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    given = [part for name, value in flags.items() if value is not None for part in (name, value)]
    return main(["init", "--dir", str(folder), *given, *more])


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_sound_and_private(tmp_path, capsys):
    folder = tmp_path / "gate"
    assert init(folder) == 0
    out = capsys.readouterr().out
    assert "\n      https://login.corp.example/.gate/callback\n" in out
    assert "\n      https://login.corp.example/.gate/signed-out\n" in out
    assert f" check --live --config {folder}/posturegate.yaml" in out
    assert "public client" not in out
    loaded = load_or_print(str(folder / "posturegate.yaml"))
    assert loaded.warnings == ()
    assert loaded.config.providers[0].client_secret.reveal() == FLAGS["--client-secret"]
    assert loaded.config.public_url == "https://login.corp.example"
    assert loaded.config.apps[0].name == "wiki"
    secrets = sorted((folder / "secrets").iterdir())
    assert [path.name for path in secrets] == ["client-secret", "sensor-generic", "store-key"]
    assert {mode(path) for path in secrets} == {0o600}
    assert mode(folder / "secrets") == 0o700
    assert FLAGS["--client-secret"] not in out + (folder / "posturegate.yaml").read_text()


def test_the_first_line_serves_editors_and_the_schema_is_there(tmp_path):
    init(tmp_path)
    first = (tmp_path / "posturegate.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=posturegate.schema.json"
    assert (tmp_path / "posturegate.schema.json").exists()


@pytest.mark.parametrize(
    ("app_host", "public_url"),
    [
        ("app.localhost", "http://login.localhost:8080"),
        ("wiki.corp.example", "https://login.corp.example"),
        ("*.apps.corp.example", "https://login.apps.corp.example"),
    ],
)
def test_the_login_host_is_beside_the_app(tmp_path, app_host, public_url):
    issuer = "http://localhost:3000" if public_url.startswith("http:") else FLAGS["--issuer"]
    assert init(tmp_path, app_host=app_host, issuer=issuer) == 0
    assert load_or_print(str(tmp_path / "posturegate.yaml")).config.public_url == public_url


def test_own_login_host_and_public_client(tmp_path, capsys):
    assert init(tmp_path, public_url="https://sso.example.net/", client_secret=None) == 0
    out = capsys.readouterr().out
    assert "https://sso.example.net/.gate/callback" in out
    assert "client secret" not in out
    assert "as a public client, for it has no secret" in out
    config = load_or_print(str(tmp_path / "posturegate.yaml")).config
    assert config.providers[0].client_secret is None
    assert not (tmp_path / "secrets/client-secret").exists()


def test_nothing_is_overwritten_without_force(tmp_path, capsys):
    init(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert init(tmp_path, client_id="other") == 1
    assert "already there: posturegate.yaml" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_force_overwrites_all_but_the_key_of_the_store(tmp_path):
    init(tmp_path)
    key = (tmp_path / "secrets/store-key").read_bytes()
    sensor = (tmp_path / "secrets/sensor-generic").read_bytes()
    assert init(tmp_path, "--force", client_id="other") == 0
    assert (tmp_path / "secrets/store-key").read_bytes() == key
    assert (tmp_path / "secrets/sensor-generic").read_bytes() != sensor
    assert load_or_print(str(tmp_path / "posturegate.yaml")).config.providers[0].client_id == "other"


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"issuer": "http://idp.corp.example"}, "GATE-C036 providers[0].issuer"),
        ({"app_host": "Wiki.corp.example"}, "did you mean `wiki.corp.example`?"),
        ({"upstream": "10.0.0.5"}, "GATE-C033 apps[0].upstream"),
        ({"client_id": 'a"\nversion: 2'}, None),
    ],
)
def test_answers_that_make_no_configuration_write_nothing(tmp_path, capsys, changed, part):
    """And an answer can never become more than a value of the file."""
    result = init(tmp_path / "new", **changed)
    if part is None:
        assert result == 0
        config = load_or_print(str(tmp_path / "new/posturegate.yaml")).config
        assert (config.version, config.providers[0].client_id) == (1, changed["client_id"])
        return
    assert result == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_missing_flags_are_named_where_nobody_can_be_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(["init", "--dir", str(tmp_path), "--client-id", "gate"]) == 2
    assert capsys.readouterr().err == "missing: --issuer, --app-host, --upstream\n"


def test_on_a_terminal_it_asks(tmp_path, monkeypatch):
    answers = iter(["", "https://idp.corp.example", "gate", "wiki.corp.example", "http://10.0.0.5:8080", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    monkeypatch.setattr("getpass.getpass", lambda _: "typed-secret")
    assert main(["init", "--dir", str(tmp_path)]) == 0
    config = load_or_print(str(tmp_path / "posturegate.yaml")).config
    assert config.providers[0].client_secret.reveal() == "typed-secret"
    assert config.public_url == "https://login.corp.example"
