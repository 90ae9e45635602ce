"""Checks of apps and their upstreams."""

import re

from compliance.paths import pattern_fault
from gateway.config.checks.forms import host_hint, is_bad_host, parse_listen, parse_url, path_fault
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.schema import App, ClientCertificates, DeviceCertificate, HealthCheck, Server, Timeouts
from gateway.wire.origin import parse_origin
from gateway.wire.target import plain_signs

RESERVED_PREFIXES = ("/.gate", "/.well-known/gate")

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?", re.ASCII)

_QUERY = re.compile(r"[\x21\x22\x24-\x7e]*", re.ASCII)


def check_app(checks: Checks, path: KeyPath, app: App) -> None:
    """Check an app's addresses and its provider."""
    _host(checks, (*path, "host"), app.host)
    _upstream(checks, path, app)
    _path_prefix(checks, (*path, "path_prefix"), app.path_prefix)
    _prefix_changes(checks, path, app)
    _client_certificate(checks, (*path, "client_certificate"), app)
    for at, prefix in enumerate(app.public_paths):
        _path_prefix(checks, (*path, "public_paths", at), prefix)
        if prefix == "/":
            message = f"every path of `{app.name}` is public: nobody has to sign in"
            checks.fault(Code.LENIENT, (*path, "public_paths", at), message)
    for at, origin in enumerate(app.websocket_origins):
        if parse_origin(origin.encode()) is None:
            message = f"{shown(origin)} is no origin of a page"
            checks.fault(
                Code.URL, (*path, "websocket_origins", at), message, "`https://host` or `https://host:port`"
            )
    if app.provider is not None:
        checks.reference((*path, "provider"), app.provider, "providers", "provider")
    checks.positive(path, app, "body_bytes")


def _host(checks: Checks, path: KeyPath, host: str) -> None:
    if _HOST.fullmatch(host) is None or is_bad_host(host):
        checks.fault(Code.HOST, path, f"{shown(host)} is not a host name", host_hint(host))


def _upstream(checks: Checks, path: KeyPath, app: App) -> None:
    checks.bundle((*path, "upstream_ca"), app.upstream_ca)
    if app.upstream_ca is not None and not any(each.startswith("https://") for each in app.upstreams):
        message = "`upstream_ca` has no effect: the upstream is not https"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "upstream_ca"), message)
    if not app.upstreams:
        checks.fault(Code.MISSING_KEY, (*path, "upstream"), "at least one address is needed")
    for at, upstream in enumerate(app.upstreams):
        where = (*path, "upstream") if isinstance(app.upstream, str) else (*path, "upstream", at)
        _upstream_address(checks, where, upstream)
        if upstream in app.upstreams[:at]:
            checks.fault(Code.ADDRESS_CLASH, where, f"{shown(upstream)} stands twice")


def _upstream_address(checks: Checks, where: KeyPath, upstream: str) -> None:
    hint = "`http://host:port`, `https://host:port` or `unix:/path`"
    if upstream.startswith("unix:"):
        if not upstream.removeprefix("unix:").startswith("/"):
            checks.fault(Code.URL, where, "the path of a Unix socket is absolute", "`unix:/path`")
        return
    url = parse_url(upstream)
    if url is None or url.scheme not in {"http", "https"} or not url.hostname:
        checks.fault(Code.URL, where, f"{shown(upstream)} is no address of an app", hint)
    elif url.username or url.query or url.fragment:
        message = f"{shown(upstream)} has a user, query or fragment"
        checks.fault(Code.URL, where, message, hint)
    elif url.path not in {"", "/"}:
        message = f"{shown(upstream)} has a path, which belongs into `add_prefix`"
        checks.fault(Code.URL, where, message, f"did you mean `{url.scheme}://{url.netloc}`?")
    elif _is_own_listener(checks, url.hostname, url.port or (443 if url.scheme == "https" else 80)):
        message = f"{shown(upstream)} is where this gateway itself listens"
        checks.fault(Code.ADDRESS_CLASH, where, message, "give the app or `server.listen` another port")


def _is_own_listener(checks: Checks, host: str, port: int) -> bool:
    """Return whether an address surely is the gateway's own, as far as names on this machine tell."""
    server = next((server for _, server in checks.all(Server)), Server())
    listen = parse_listen(server.listen)
    if listen is None or listen[1] != port:
        return False
    name = "127.0.0.1" if host == "localhost" else host
    ours = "127.0.0.1" if listen[0] == "localhost" else listen[0]
    return name == ours or (name, ours) in {("127.0.0.1", "0.0.0.0"), ("::1", "::")}  # noqa: S104 - compared


def _path_prefix(checks: Checks, path: KeyPath, prefix: str) -> None:
    fault = pattern_fault(prefix)
    if fault is None and "*" in prefix:
        fault = "a prefix has no `*`"
    if fault is None and plain_signs(prefix) != prefix:
        fault = f"write `{plain_signs(prefix)}`"
    if fault is None and any(prefix == own or prefix.startswith(own + "/") for own in RESERVED_PREFIXES):
        fault = "the gateway's own paths begin so"
    if fault is not None:
        checks.fault(Code.URL, path, f"{shown(prefix)} is no path prefix: {fault}")


def _prefix_changes(checks: Checks, path: KeyPath, app: App) -> None:
    """Check what happens to paths on the way to the app."""
    if app.strip_prefix and app.path_prefix == "/":
        message = "`strip_prefix` has no effect: there is no `path_prefix`"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "strip_prefix"), message)
    if app.add_prefix:
        fault = path_fault(app.add_prefix)
        if fault is not None:
            message = f"{shown(app.add_prefix)} is no path prefix: {fault}"
            checks.fault(Code.URL, (*path, "add_prefix"), message)
    if app.strip_prefix and app.path_prefix != "/" and path_fault(app.path_prefix) is not None:
        message = f"{shown(app.path_prefix)} cannot be stripped: {path_fault(app.path_prefix)}"
        checks.fault(Code.URL, (*path, "path_prefix"), message)


def _client_certificate(checks: Checks, path: KeyPath, app: App) -> None:
    server = next((server for _, server in checks.all(Server)), Server())
    asks = server.tls is not None and server.tls.client_certificates is not ClientCertificates.OFF
    arrives = asks or any(source.header for _, source in checks.all(DeviceCertificate))
    is_required = app.client_certificate is ClientCertificates.REQUIRED
    if is_required and not arrives and checks.decoder.is_sound(("server", "tls")):
        message = f"nobody could use `{app.name}`: no client certificate can arrive"
        hint = "set `server.tls.client_certificates: optional`"
        checks.fault(Code.DEVICE, path, message, hint)


def check_health(checks: Checks, path: KeyPath, health: HealthCheck) -> None:
    """Check that an active check can be sent."""
    checks.positive(path, health, "every", "timeout")
    fault = path_fault(health.path.partition("?")[0])
    if fault is not None or _QUERY.fullmatch(health.path.partition("?")[2]) is None:
        message = (
            f"{shown(health.path)} cannot be asked for: {fault or 'its query has a character to escape'}"
        )
        checks.fault(Code.URL, (*path, "path"), message, "such as `/healthz`")


def check_timeouts(checks: Checks, path: KeyPath, timeouts: Timeouts) -> None:
    """Check that no time is zero."""
    checks.positive(path, timeouts, "connect", "response", "idle", "tunnel")
