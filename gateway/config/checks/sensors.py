"""Checks of sensors and of how their deliveries prove who sent them."""

import re
from difflib import get_close_matches

from gateway.config.checks.forms import is_whpk, is_whsec
from gateway.config.checks.pulls import check_pull
from gateway.config.checks.shared import Checks
from gateway.config.checks.weighing import check_sensor_name
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import Basic, Bearer, Hmac, Sensor, StandardWebhooks
from plugins.verify import parse_message
from risk.model import STRONG_KINDS
from risk.values import Secret

MAX_SECRETS = 2

DEVICE_KINDS = (*STRONG_KINDS, "hostname")

NEAR = 0.8
"""How alike two kinds are, as `difflib` counts, for one to be a slip of the other."""

MIN_BEARER_BYTES = 16

WHSEC_BYTES = (24, 64)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


def check_sensor(checks: Checks, path: KeyPath, sensor: Sensor) -> None:
    """Check a sensor's bounds and that its silence has been thought of."""
    checks.positive(path, sensor, "max_silence", "body_bytes", "rate")
    check_pull(checks, path, sensor)
    check_sensor_name(checks, path, sensor)
    if not checks.decoder.is_given((*path, "max_silence")):
        message = f"sensor `{sensor.name}` may be silent for ever: nobody said when that counts"
        hint = "set `max_silence: 24h`, or `max_silence: null` for a sensor that speaks only of incidents"
        checks.fault(Code.NO_SILENCE, (*path, "max_silence"), message, hint)
    if sensor.kind == "generic":
        _check_kinds(checks, path, sensor)


def _check_kinds(checks: Checks, path: KeyPath, sensor: Sensor) -> None:
    """Warn of a kind of identifier that is nearly one of those that name a device: it would join no records."""
    given = sensor.options.get("device")
    for at, each in enumerate(given if isinstance(given, list | tuple) else ()):
        kind = str(each.get("kind", "")) if isinstance(each, dict) else ""
        meant = _nearly(kind)
        if meant:
            message = f"{shown(kind)} is a kind of your own, by which no two sensors name the same device"
            checks.fault(
                Code.WEAK_DEVICE,
                (*path, "options", "device", at, "kind"),
                message,
                f"did you mean `{meant}`? docs/devices.md lists the kinds",
            )


def _nearly(kind: str) -> str:
    """Return the known kind of identifier that was probably meant, "" for a known kind and for any other."""
    plain = kind.strip().lower().replace("_", "-")
    if kind in DEVICE_KINDS:
        return ""
    begins = [each for each in DEVICE_KINDS if plain == each or plain.startswith(f"{each}-")]
    near = get_close_matches(plain, DEVICE_KINDS, n=1, cutoff=NEAR)
    return (begins or near or [""])[0]


def check_standard_webhooks(checks: Checks, path: KeyPath, auth: StandardWebhooks) -> None:
    """Check that the secrets are what the scheme says."""
    _secret_count(checks, path, auth.secrets)
    checks.positive(path, auth, "tolerance")
    for at, secret in enumerate(auth.secrets):
        if not is_whsec(secret) and not is_whpk(secret):
            low, high = WHSEC_BYTES
            message = f"a secret is `whsec_` and base64 of {low} to {high} bytes, or a `whpk_` public key"
            hint = "`posturegate sensor add` makes one, or: echo whsec_$(openssl rand -base64 32)"
            checks.fault(Code.SECRET, (*path, "secrets", at), message, hint)


def check_bearer(checks: Checks, path: KeyPath, auth: Bearer) -> None:
    """Check that the secrets cannot be guessed and fit a header."""
    _secret_count(checks, path, auth.secrets)
    _header(checks, path, "header", auth.header)
    _shared_secrets(checks, path, auth.secrets, "bearer secret")


def check_basic(checks: Checks, path: KeyPath, auth: Basic) -> None:
    """Check that the passwords cannot be guessed and that the name fits before a colon."""
    _secret_count(checks, path, auth.secrets)
    if not auth.username or ":" in auth.username or not auth.username.isprintable():
        message = f"{shown(auth.username)} is no user name: printable text without a colon"
        checks.fault(Code.FORM, (*path, "username"), message)
    _shared_secrets(checks, path, auth.secrets, "password")


def check_hmac(checks: Checks, path: KeyPath, auth: Hmac) -> None:
    """Check that the message can be put together, and that what it rests on is signed."""
    _secret_count(checks, path, auth.secrets)
    checks.positive(path, auth, "tolerance")
    for name in ("signature_header", "timestamp_header", "id_header"):
        if name == "signature_header" or getattr(auth, name):
            _header(checks, path, name, getattr(auth, name))
    try:
        parse_message(auth.message, auth.timestamp_header, auth.id_header)
    except ValueError as error:
        checks.fault(Code.FORM, (*path, "message"), str(error), "such as `{timestamp}.{body}`")
    _shared_secrets(checks, path, auth.secrets, "HMAC secret")


def _header(checks: Checks, path: KeyPath, name: str, header: str) -> None:
    if _TOKEN.fullmatch(header) is None:
        checks.fault(Code.FORM, (*path, name), f"{shown(header)} is not a header name")


def _shared_secrets(checks: Checks, path: KeyPath, secrets: tuple[Secret, ...], what: str) -> None:
    """Check that secrets cannot be guessed and fit a header."""
    article = "an" if what.startswith("HMAC") else "a"
    for at, secret in enumerate(secrets):
        text = secret.reveal()
        if len(text.encode()) < MIN_BEARER_BYTES:
            message = f"{article} {what} has at least {MIN_BEARER_BYTES} bytes"
            checks.fault(Code.SECRET, (*path, "secrets", at), message, "make one with `openssl rand -hex 24`")
        elif not text.isascii() or not text.isprintable() or " " in text:
            message = f"{article} {what} is printable ASCII without spaces"
            checks.fault(Code.SECRET, (*path, "secrets", at), message)


def _secret_count(checks: Checks, path: KeyPath, secrets: tuple[Secret, ...]) -> None:
    if not 1 <= len(secrets) <= MAX_SECRETS:
        message = f"{len(secrets)} secrets are given"
        checks.fault(Code.SECRET, (*path, "secrets"), message, "one, or two while rotating")
