"""Checks of the authorization API."""

from gateway.config.authzen import AuthZen
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath

MAX_SECRETS = 2
MIN_SECRET_BYTES = 16


def check_authzen(checks: Checks, path: KeyPath, section: AuthZen) -> None:
    """Check the secrets of callers."""
    if not 1 <= len(section.secrets) <= MAX_SECRETS:
        message = f"{len(section.secrets)} secrets are given"
        checks.fault(Code.SECRET, (*path, "secrets"), message, "one, or two while rotating")
    for at, secret in enumerate(section.secrets):
        text = secret.reveal()
        if (
            len(text.encode()) < MIN_SECRET_BYTES
            or not text.isascii()
            or not text.isprintable()
            or " " in text
        ):
            message = f"a secret is printable ASCII without spaces, at least {MIN_SECRET_BYTES} characters"
            checks.fault(Code.SECRET, (*path, "secrets", at), message, "make one with `openssl rand -hex 24`")
