"""The section of the authorization API."""

from risk.values import Secret, Strict


class AuthZen(Strict, frozen=True):
    """The AuthZEN Authorization API: others ask what this gateway would decide; see `docs/authzen.md`.

    Field: secrets: one or two secrets that callers send as `Authorization: Bearer SECRET`; two while rotating.
    """

    secrets: tuple[Secret, ...]
