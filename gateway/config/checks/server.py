"""Checks of the server, its certificates, the store and lifetimes."""

import ssl

from cryptography import x509

from gateway.config.checks.forms import is_loopback, parse_listen, reason
from gateway.config.checks.shared import Checks
from gateway.config.deliveries import Deliveries
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import (
    Certificate,
    ClientCertificates,
    Decisions,
    DeviceCertificate,
    Limits,
    Server,
    Sessions,
    Store,
    Tls,
)

MIN_KEY_BYTES = 16

MAX_WORKERS = 256

MAX_RUN_DIR_BYTES = 80
"""A Unix socket's path has at most 107 bytes, its name in the folder included."""


def check_server(checks: Checks, path: KeyPath, server: Server) -> None:
    """Check the listeners and what stands before them."""
    is_shared = server.listen == "systemd" or server.listen.startswith("unix:/")
    listen = None if is_shared else _listener(checks, (*path, "listen"), server.listen)
    ops = _listener(checks, (*path, "ops"), server.ops)
    if listen is not None and listen == ops and listen[1] != 0:
        checks.fault(Code.ADDRESS_CLASH, (*path, "ops"), f"`ops` is {shown(server.ops)}, as `listen` is")
    if (
        listen is not None
        and server.tls is None
        and not server.trusted_proxies
        and not is_loopback(listen[0])
    ):
        message = f"plain http on {shown(server.listen)} lets anybody on the way read and change everything"
        hint = "add `tls`, listen on 127.0.0.1, or name the TLS proxy before it in `trusted_proxies`"
        checks.fault(Code.UNSAFE, (*path, "listen"), message, hint)
    if ops is not None and not is_loopback(ops[0]):
        message = f"the operations listener on {shown(server.ops)} is open to others"
        checks.fault(Code.EXPOSED, (*path, "ops"), message, "keep it on 127.0.0.1")
    checks.networks((*path, "trusted_proxies"), server.trusted_proxies)
    for at, cidr in enumerate(server.trusted_proxies):
        if cidr in {"0.0.0.0/0", "::/0"}:
            message = "everybody may claim any client address and any device certificate"
            checks.fault(Code.UNSAFE, (*path, "trusted_proxies", at), message, "name the proxies only")
    checks.networks((*path, "proxy_protocol"), server.proxy_protocol)
    for at, cidr in enumerate(server.proxy_protocol):
        if cidr in {"0.0.0.0/0", "::/0"}:
            message = "everybody may claim any client address"
            checks.fault(Code.UNSAFE, (*path, "proxy_protocol", at), message, "name the balancers only")
    if isinstance(server.workers, int) and not 0 <= server.workers <= MAX_WORKERS:
        hint = f"0 to {MAX_WORKERS}, or `auto`"
        checks.fault(Code.RANGE, (*path, "workers"), f"{server.workers} workers are out of range", hint)
    if len(server.run_dir.encode()) > MAX_RUN_DIR_BYTES:
        message = f"the path has more than {MAX_RUN_DIR_BYTES} bytes, too long for a Unix socket"
        checks.fault(Code.FORM, (*path, "run_dir"), message)


def _listener(checks: Checks, path: KeyPath, address: str) -> tuple[str, int] | None:
    parsed = parse_listen(address)
    if parsed is None:
        hint = "write `127.0.0.1:8080` or `[::1]:8080`, or `unix:/path` or `systemd` for `listen`"
        checks.fault(Code.URL, path, f"{shown(address)} is not `address:port`", hint)
    return parsed


def check_limits(checks: Checks, path: KeyPath, limits: Limits) -> None:
    """Check that no bound is zero."""
    checks.positive(path, limits, *limits.__struct_fields__)


def check_tls(checks: Checks, path: KeyPath, tls: Tls) -> None:
    """Check certificates and the device CA."""
    if not tls.certificates:
        checks.fault(Code.MISSING_KEY, (*path, "certificates"), "at least one certificate is needed")
    asks = tls.client_certificates is not ClientCertificates.OFF
    if asks and tls.client_ca is None:
        message = f"`client_certificates: {tls.client_certificates}` needs `client_ca`"
        checks.fault(Code.DEVICE, (*path, "client_certificates"), message, "the PEM bundle of the device CA")
    if not asks and tls.client_ca is not None and not any(s.header for _, s in checks.all(DeviceCertificate)):
        message = "`client_ca` has no effect: no client certificate is asked for"
        checks.fault(
            Code.WITHOUT_EFFECT, (*path, "client_ca"), message, "set `client_certificates: optional`"
        )
    checks.bundle((*path, "client_ca"), tls.client_ca)


def check_certificate(checks: Checks, path: KeyPath, certificate: Certificate) -> None:
    """Check that certificate and key are there, can be read and belong together."""
    files = {"cert": certificate.cert, "key": certificate.key}
    are_there = [checks.readable((*path, key), name) for key, name in files.items()]
    if not all(are_there):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password of its own the library would ask for that of an encrypted key at the terminal.
        context.load_cert_chain(checks.base / certificate.cert, checks.base / certificate.key, password="")
    except (OSError, ValueError) as error:
        message = f"{shown(certificate.cert)} and {shown(certificate.key)} cannot be used: {reason(error)}"
        hint = "PEM: the leaf first, then intermediates; its own key, not encrypted"
        checks.fault(Code.FILE_NEEDED, (*path, "cert"), message, hint)
        return
    leaf = x509.load_pem_x509_certificates((checks.base / certificate.cert).read_bytes())[0]
    message = f"{shown(certificate.cert)} has been expired"
    hint = "browsers refuse it; renew it, and `posturegate reload` takes the new one"
    checks.passed((*path, "cert"), leaf.not_valid_after_utc, message, hint)


def check_store(checks: Checks, path: KeyPath, store: Store) -> None:
    """Check the address of the store and the strength of its key."""
    scheme, _, rest = store.url.partition(":")
    if scheme != "sqlite" or not rest.strip("/") or (rest.startswith("//") and not rest.startswith("///")):
        hint = "write `sqlite:///absolute/path/state.db`, or `sqlite:state.db` beside this file"
        checks.fault(Code.URL, (*path, "url"), f"{shown(store.url)} is no address of a store", hint)
    if store.key is not None and len(store.key.reveal().encode()) < MIN_KEY_BYTES:
        message = f"the key has less than {MIN_KEY_BYTES} bytes"
        checks.fault(Code.SECRET, (*path, "key"), message, "make one with `openssl rand -base64 32`")


def check_sessions(checks: Checks, path: KeyPath, sessions: Sessions) -> None:
    """Check the lifetimes."""
    checks.positive(path, sessions, "idle", "absolute", "per_user")
    if sessions.idle > sessions.absolute:
        message = "`idle` is longer than `absolute` and has no effect"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "idle"), message)


def check_decisions(checks: Checks, path: KeyPath, decisions: Decisions) -> None:
    """Check the bounds of kept records."""
    checks.positive(path, decisions, "keep", "most")


def check_deliveries(checks: Checks, path: KeyPath, deliveries: Deliveries) -> None:
    """Check the bounds of the delivery log."""
    checks.positive(path, deliveries, "keep", "most", "bodies_bytes")
