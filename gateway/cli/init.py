"""`posturegate init`: write a first configuration, its secret files, and say what to register where.

Asks for what no flag gives when it runs on a terminal. What it writes has passed `posturegate check`.
"""

import argparse
import getpass
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK

CONFIG_NAME = "posturegate.yaml"
SCHEMA_NAME = "posturegate.schema.json"
SECRETS = "secrets"
STORE_KEY = f"{SECRETS}/store-key"
SENSOR = "generic"

MAX_RUN_DIR_CHARACTERS = 80
"""A Unix socket's path is short; a deeper folder falls back to the system's."""


@dataclass(frozen=True)
class _Answers:
    issuer: str
    client_id: str
    client_secret: str
    app_host: str
    upstream: str
    public_url: str

    @property
    def app_name(self) -> str:
        """The app's name: the first label of its host."""
        return re.sub(r"[^a-z0-9-]", "", self.app_host.partition(".")[0].lower()).strip("-") or "app"

    @property
    def is_plain(self) -> bool:
        """Whether this is a demo on one machine, over plain http."""
        return self.public_url.startswith("http://")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `init`."""
    parser.add_argument("--issuer", metavar="URL", help="issuer of your OpenID provider")
    parser.add_argument("--client-id", metavar="ID", help="client id that the provider gave you")
    parser.add_argument("--client-secret", metavar="TEXT", help="its secret; better typed in when asked")
    parser.add_argument("--app-host", metavar="HOST", help="public host name of the first app")
    parser.add_argument("--upstream", metavar="URL", help="where the app is: http://host:port")
    parser.add_argument(
        "--public-url", metavar="URL", help="login host (default: login beside the app's host)"
    )
    parser.add_argument("--dir", metavar="FOLDER", default=".", help="where to write (default: here)")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run(arguments: argparse.Namespace) -> int:
    """Write the files. Returns 2 for answers that make no configuration, 1 when files are in the way."""
    answers = _answers(arguments)
    if isinstance(answers, list):
        print(f"missing: {', '.join(answers)}", file=sys.stderr)
        return EXIT_INVALID
    folder = Path(arguments.dir).absolute()
    texts, secret_texts = _texts(answers, folder), _secret_texts(answers)
    in_the_way = [name for name in (*texts, *secret_texts) if (folder / name).exists()]
    if in_the_way and not arguments.force:
        print(f"already there: {', '.join(in_the_way)}; --force overwrites", file=sys.stderr)
        return EXIT_FAILED
    faults = _try(texts, secret_texts)
    if faults:
        print(faults, file=sys.stderr)
        return EXIT_INVALID
    if (folder / STORE_KEY).exists():
        # INVARIANT: a store's key is never replaced: what it encrypts could not be read again.
        del secret_texts[STORE_KEY]
    _write(folder, texts, secret_texts)
    _print_next(answers, folder)
    return EXIT_OK


# --- answers -------------------------------------------------------------------------------------------


def _answers(arguments: argparse.Namespace) -> _Answers | list[str]:
    """Return the answers, or the flags that are missing where nobody can be asked."""
    asked = {
        "issuer": "Issuer of your OpenID provider (https://…): ",
        "client_id": "Client id: ",
        "app_host": "Public host name of the first app (wiki.example.org): ",
        "upstream": "Where that app is (http://10.0.0.5:8080): ",
    }
    given = {name: getattr(arguments, name) for name in asked}
    missing = [name for name, value in given.items() if not value]
    is_terminal = sys.stdin.isatty()
    if missing and not is_terminal:
        return [f"--{name.replace('_', '-')}" for name in missing]
    for name in missing:
        given[name] = _ask(asked[name])
    client_secret = arguments.client_secret
    if client_secret is None and is_terminal:
        client_secret = getpass.getpass("Client secret (not shown; empty for a public client): ")
    proposed = _login_url(given["app_host"])
    public_url = arguments.public_url
    if public_url is None and is_terminal and missing:
        public_url = input(f"Login host [{proposed}]: ").strip()
    return _Answers(
        **{name: value.strip() for name, value in given.items()},
        client_secret=(client_secret or "").strip(),
        public_url=(public_url or proposed).strip().rstrip("/"),
    )


def _ask(question: str) -> str:
    answer = ""
    while not answer:
        answer = input(question).strip()
    return answer


def _login_url(app_host: str) -> str:
    """Return the login host beside an app's host: below the same parent, plain http only on loopback."""
    host = app_host.strip().lower()
    if host == "localhost" or host.endswith(".localhost"):
        return "http://login.localhost:8080"
    parent = host.partition(".")[2]
    return f"https://login.{parent or host}"


# --- texts ---------------------------------------------------------------------------------------------


def _texts(answers: _Answers, folder: Path) -> dict[str, str]:
    from gateway.config.schema_json import schema_text  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import installed  # noqa: PLC0415

    catalog = installed()
    schema = schema_text({kind: catalog.sensor(kind).options_type for kind in catalog.kinds})
    return {CONFIG_NAME: _config_text(answers, folder), SCHEMA_NAME: schema}


def _secret_texts(answers: _Answers) -> dict[str, str]:
    texts = {
        STORE_KEY: b64encode(secrets.token_bytes(32)).decode(),
        f"{SECRETS}/sensor-{SENSOR}": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
    }
    if answers.client_secret:
        texts[f"{SECRETS}/client-secret"] = answers.client_secret
    return texts


def _config_text(answers: _Answers, folder: Path) -> str:
    run_dir = str(folder / "run")
    client_secret = f"client_secret: {{file: {SECRETS}/client-secret}}"
    return _TEMPLATE.format(
        schema=SCHEMA_NAME,
        public_url=_quoted(answers.public_url),
        server=_PLAIN_SERVER.format(port=_port(answers.public_url)) if answers.is_plain else _TLS_SERVER,
        run_dir=_quoted(run_dir if len(run_dir.encode()) <= MAX_RUN_DIR_CHARACTERS else "/run/posturegate"),
        issuer=_quoted(answers.issuer),
        client_id=_quoted(answers.client_id),
        client_secret=client_secret
        if answers.client_secret
        else "# no client_secret: a public client with PKCE",
        app_name=answers.app_name,
        app_host=_quoted(answers.app_host),
        upstream=_quoted(answers.upstream),
        sensor=SENSOR,
        secrets=SECRETS,
    )


def _port(url: str) -> int:
    from urllib.parse import urlsplit  # noqa: PLC0415 - lazy: `--help` must not pay for it

    try:
        return urlsplit(url).port or 80
    except ValueError:
        return 80


def _quoted(text: str) -> str:
    """Return a text as YAML: plain where that is safe, else in quotes."""
    import json  # noqa: PLC0415 - lazy: `--help` must not pay for it

    is_plain = re.fullmatch(
        r"[A-Za-z/][A-Za-z0-9._/-]*(://[A-Za-z0-9._/-]+(:[0-9]+)?[A-Za-z0-9._/-]*)?", text
    )
    is_word = text.lower() in {"true", "false", "null", "yes", "no", "on", "off"}
    return text if is_plain and not is_word else json.dumps(text, ensure_ascii=False)


_TLS_SERVER = """listen: 127.0.0.1:8080
  # A TLS proxy on this machine speaks https to the world and passes requests on; it must set X-Forwarded-For,
  # -Proto and -Host, leave Host as it is, and let upgrades through (docs/operations.md has one for nginx).
  # To end TLS here instead, listen on 0.0.0.0:443, remove trusted_proxies and add:
  #   tls: {certificates: [{cert: cert.pem, key: key.pem}]}
  trusted_proxies: [127.0.0.1/32, "::1/128"]"""

_PLAIN_SERVER = """listen: 127.0.0.1:{port}          # plain http: for a try on this machine only"""

_TEMPLATE = """# yaml-language-server: $schema={schema}
#
# Written by `posturegate init`. Check it with `posturegate check`; every key: docs/configuration.md.
version: 1
public_url: {public_url}

server:
  {server}
  run_dir: {run_dir}

store:
  url: sqlite:state.db            # beside this file
  key: {{file: {secrets}/store-key}}

providers:
  - name: main
    issuer: {issuer}
    client_id: {client_id}
    {client_secret}
    groups_claim: groups          # where your provider lists groups

apps:
  - name: {app_name}
    host: {app_host}
    upstream: {upstream}
    # owner: whom the pages name for help

# Who may tell us about devices: POST {{public_url}}/.gate/hooks/{sensor}, signed by Standard Webhooks.
sensors:
  - name: {sensor}
    kind: generic                 # or wazuh, fleet
    auth:
      scheme: standard-webhooks
      secrets: [{{file: {secrets}/sensor-{sensor}}}]
    max_silence: null             # after this long its silence counts, such as 24h; null: never
    options:                      # where the values stand in its JSON
      device: [{{kind: serial, path: device.serial}}]
      level: {{path: severity}}
      title: title
      external_id: id
      resolves: {{path: status, equals: [resolved, closed]}}

# How a request tells its device. Until one of these does, every device is unknown.
devices: []
# - {{from: claim, claim: device_serial, kind: serial}}

# Sensors that know a device by its hostname alone speak of the one device of that name. Remove it where names repeat.
risk: {{join_hostnames: true}}

compliance:
  policies:
    - name: baseline
      rules:
        - {{type: risk, name: no-high-risk, max: low, title: No live threat on this device}}

access:
  policies:
    # Everyone who can sign in, until you name groups: include: {{groups: [staff]}}
    - name: everyone
      apps: [{app_name}]
      decision: allow
    # A device that a sensor warns of is sent to its remediation page. Once devices are told, add `unknown`.
    - name: fix-first
      decision: remediate
      when: {{compliance: [noncompliant]}}
      reason: A sensor reported a problem with this device.
"""


# --- files ---------------------------------------------------------------------------------------------


def _try(texts: dict[str, str], secret_texts: dict[str, str]) -> str:
    """Return the faults of what would be written, tried in a folder of its own; empty for none."""
    from gateway.cli.check import report  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.load import ConfigInvalid  # noqa: PLC0415
    from gateway.config.sensors import load_config  # noqa: PLC0415

    trial = Path(tempfile.mkdtemp(prefix="posturegate-init-"))
    try:
        _write(trial, texts, secret_texts)
        load_config(str(trial / CONFIG_NAME))
    except ConfigInvalid as invalid:
        return report(invalid.faults, is_valid=False, name=CONFIG_NAME).replace(f"{trial}/", "")
    finally:
        shutil.rmtree(trial)
    return ""


def _write(folder: Path, texts: dict[str, str], secret_texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SECRETS).mkdir(mode=0o700, exist_ok=True)
    for name, text in texts.items():
        _write_file(folder / name, text, 0o644)
    for name, text in secret_texts.items():
        _write_file(folder / name, text + "\n", 0o600)


def _write_file(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all, never readable by more than `mode` says."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def _print_next(answers: _Answers, folder: Path) -> None:
    config = folder / CONFIG_NAME
    print(f"wrote {config}")
    written = ("client secret, " if answers.client_secret else "") + "sensor secret, store key"
    print(f"      {folder / SECRETS}/ (mode 0600: {written})")
    print()
    print("Register at your provider as redirect URI, exactly:")
    print(f"      {answers.public_url}/.gate/callback")
    print("and as post-logout redirect URI:")
    print(f"      {answers.public_url}/.gate/signed-out")
    if not answers.client_secret:
        print("as a public client, for it has no secret. One that has a secret needs in `providers`:")
        print(f"      client_secret: {{file: {SECRETS}/client-secret}}")
    print()
    print("Sensors report to:")
    print(
        f"      {answers.public_url}/.gate/hooks/{SENSOR}   (secret: {folder / SECRETS / f'sensor-{SENSOR}'})"
    )
    print()
    command = "posturegate" if shutil.which("posturegate") else shlex.quote(sys.argv[0])
    print("Next:")
    print(f"      {command} check --live --config {config}")
    print(f"      {command} serve --config {config}")
