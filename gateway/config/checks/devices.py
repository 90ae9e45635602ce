"""Checks of device sources."""

import re

from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import ClientCertificates, DeviceCertificate, DeviceClaim, Server
from risk.model import STRONG_KINDS

CERTIFICATE_FIELDS = ("subject.CN", "subject.serialNumber", "san.uri", "san.dns", "san.email")


def check_device_claim(checks: Checks, path: KeyPath, source: DeviceClaim) -> None:
    """Check a device claim."""
    _identifier_kind(checks, (*path, "kind"), source.kind)
    if not source.claim or "" in source.claim.split("."):
        hint = "`device_id`, or `device.serial` for a member"
        checks.fault(Code.DEVICE, (*path, "claim"), f"{shown(source.claim)} is no path of a claim", hint)


def check_device_certificate(checks: Checks, path: KeyPath, source: DeviceCertificate) -> None:
    """Check that such a certificate can arrive and that its id can be read."""
    _identifier_kind(checks, (*path, "kind"), source.kind)
    if source.field not in CERTIFICATE_FIELDS:
        message = f"unknown certificate field {shown(source.field)}"
        hint = did_you_mean(source.field, CERTIFICATE_FIELDS)
        checks.fault(Code.UNKNOWN_WORD, (*path, "field"), message, hint)
    try:
        captures = re.compile(source.match).groups
    except (re.error, OverflowError, RecursionError) as error:
        message = f"{shown(source.match)} is not a regular expression: {error}"
        checks.fault(Code.PATTERN, (*path, "match"), message)
    else:
        if captures != 1:
            message = f"{shown(source.match)} has {captures} captures, not one"
            checks.fault(Code.PATTERN, (*path, "match"), message, "others are written `(?:…)`")
    _certificate_arrives(checks, path, source)
    checks.bundle((*path, "ca"), source.ca)


def _certificate_arrives(checks: Checks, path: KeyPath, source: DeviceCertificate) -> None:
    server = next((server for _, server in checks.all(Server)), Server())
    tls = server.tls
    asks = tls is not None and tls.client_certificates is not ClientCertificates.OFF
    if (
        source.header
        and not server.trusted_proxies
        and checks.decoder.is_sound(("server", "trusted_proxies"))
    ):
        message = "`header: true` needs `server.trusted_proxies`: else anybody could send the header"
        checks.fault(Code.UNSAFE, (*path, "header"), message)
    if source.header and source.ca is None and (tls is None or tls.client_ca is None):
        message = "`header: true` needs the device CA to verify what the proxy passes on"
        checks.fault(Code.DEVICE, (*path, "header"), message, "set `ca`, or `server.tls.client_ca`")
    if not source.header and not asks and checks.decoder.is_sound(("server", "tls")):
        message = "no device certificate can arrive: the listener does not ask for one"
        hint = "set `server.tls.client_certificates: optional`, or `header: true` behind a trusted proxy"
        checks.fault(Code.DEVICE, path, message, hint)


def _identifier_kind(checks: Checks, path: KeyPath, kind: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9-]{0,62}", kind) is None:
        hint = f"lower-case letters, digits and dashes; known: {', '.join(STRONG_KINDS)}"
        checks.fault(Code.FORM, path, f"{shown(kind)} is no kind of identifier", hint)
    elif kind not in STRONG_KINDS:
        message = f"identifiers of kind `{kind}` may belong to several devices"
        hint = f"kinds that name one device: {', '.join(STRONG_KINDS)}"
        checks.fault(Code.WEAK_DEVICE, path, message, hint)
