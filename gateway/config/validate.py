"""Checks that no single value can fail: names that refer to each other, addresses, unsafe combinations.

One function per section. Each sees only sections that could be decoded, and reports nothing about a value
that is already at fault, so that one mistake gives one fault.
"""

import base64
import binascii
import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from compliance.model import (
    AccessPolicy,
    CompliancePolicy,
    ComplianceState,
    Conditions,
    FactRule,
    Mode,
    Outcome,
    RiskRule,
    SensorRule,
)
from compliance.paths import pattern_fault
from compliance.versions import parse_version
from gateway.config.decode import Decoder
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import (
    App,
    Basic,
    Bearer,
    Certificate,
    ClientAuth,
    ClientCertificates,
    Compliance,
    Decisions,
    DeviceCertificate,
    DeviceClaim,
    HealthCheck,
    Hmac,
    Limits,
    Network,
    Provider,
    Sensor,
    Server,
    Sessions,
    StandardWebhooks,
    Store,
    Timeouts,
    Tls,
)
from gateway.wire.faults import RequestFault
from gateway.wire.target import canonical_path, is_ambiguous
from plugins.verify import parse_message, parse_public_key
from risk.model import STRONG_KINDS, RiskLevel
from risk.values import Secret

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures that an ID token may have. `none` and HMAC are never accepted."""

CERTIFICATE_FIELDS = ("subject.CN", "subject.serialNumber", "san.uri", "san.dns", "san.email")

RESERVED_PARAMETERS = frozenset(
    {
        "client_id", "client_secret", "code_challenge", "code_challenge_method", "nonce", "redirect_uri",
        "request", "request_uri", "response_mode", "response_type", "scope", "state",
    }
)  # fmt: skip
"""Parameters of the authorization request that the gateway sets itself."""

RESERVED_PREFIXES = ("/.gate", "/.well-known/gate")

MAX_SECRETS = 2
MIN_BEARER_BYTES = 16
WHSEC_BYTES = (24, 64)
MIN_KEY_BYTES = 16
MAX_WORKERS = 256
MAX_RUN_DIR_BYTES = 80
"""A Unix socket's path has at most 107 bytes, its name in the folder included."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?", re.ASCII)
_QUERY = re.compile(r"[\x21\x22\x24-\x7e]*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*", re.ASCII)

Section = TypeVar("Section")


def validate(decoder: Decoder) -> None:
    """Report to the decoder every fault between the sections that it decoded."""
    checks = _Checks(decoder)
    for path, section in list(decoder.sections):
        check = _BY_SECTION.get(type(section))
        if check is not None:
            check(checks, path, section)
    checks.check_whole()


class _Checks:
    """The checks, with what they share: all sections by type and the names that can be referred to."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.base = decoder.base

    # --- shared --------------------------------------------------------------------------------------------

    def fault(self, code: Code, path: KeyPath, message: str, hint: str = "") -> None:
        """Report a fault, unless the value at its path is at fault already."""
        if self.decoder.is_sound(path):
            self.decoder.fault(code, path, message, hint)

    def all(self, kind: type[Section]) -> list[tuple[KeyPath, Section]]:
        """Return all decoded sections of a type."""
        return [(path, each) for path, each in self.decoder.sections if isinstance(each, kind)]

    def names(self, section: str) -> list[str]:
        """Return the names in a top-level list, those of sections with other faults included."""
        found = [
            str(node.value)
            for path, node in self.decoder.nodes.items()
            if len(path) == 3 and path[0] == section and path[2] == "name"  # noqa: PLR2004 - list[at].name
        ]
        return list(dict.fromkeys(found))

    def reference(self, path: KeyPath, name: str, section: str, noun: str) -> None:
        """Check that a name refers to an entry of a top-level list."""
        known = self.names(section)
        if name not in known:
            hint = did_you_mean(name, known) or f"no {section} are configured"
            self.fault(Code.UNKNOWN_NAME, path, f"no {noun} is named {shown(name)}", hint)

    def references(self, path: KeyPath, names: Iterable[str], section: str, noun: str) -> None:
        """Check a list of names."""
        for at, name in enumerate(names):
            self.reference((*path, at), name, section, noun)

    def unique(self, entries: Iterable[tuple[KeyPath, str]], noun: str) -> None:
        """Check that no two entries have one name."""
        first: dict[str, KeyPath] = {}
        for path, name in entries:
            if name in first:
                line = self.decoder.places.get(first[name], (0, 0))[0]
                message = f"two {noun} are named {shown(name)}, the first in line {line}"
                self.fault(Code.DUPLICATE_NAME, path, message)
            first.setdefault(name, path)

    def readable(self, path: KeyPath, name: str | None) -> bool:
        """Check that a named file can be read, and return it; relative names are relative to the configuration."""
        if name is None:
            return False
        file = self.base / Path(name)
        try:
            with file.open("rb") as opened:
                opened.read(1)
        except OSError as error:
            self.fault(Code.FILE_NEEDED, path, f"file {shown(str(file))}: {error.strerror}")
            return False
        return True

    def bundle(self, path: KeyPath, name: str | None) -> None:
        """Check that a named file holds certificates of authorities."""
        if name is None or not self.readable(path, name):
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.base / name)
        except (OSError, ValueError) as error:
            message = f"file {shown(name)} holds no certificate that can be read: {_reason(error)}"
            self.fault(Code.FILE_NEEDED, path, message, "PEM: `-----BEGIN CERTIFICATE-----`")

    def positive(self, path: KeyPath, section: Any, *names: str) -> None:
        """Check that values which must not be zero are not."""
        for name in names:
            value = getattr(section, name)
            if isinstance(value, int | float) and value <= 0:
                self.fault(Code.RANGE, (*path, name), f"`{name}` must be more than zero")

    def networks(self, path: KeyPath, cidrs: Iterable[str]) -> None:
        """Check that each text is an address range without host bits."""
        for at, cidr in enumerate(cidrs):
            try:
                ipaddress.ip_network(cidr)
            except ValueError:
                self.fault(
                    Code.NETWORK, (*path, at), f"{shown(cidr)} is not an address range", _cidr_hint(cidr)
                )

    # --- sections ------------------------------------------------------------------------------------------

    def check_server(self, path: KeyPath, server: Server) -> None:
        """Check the listeners and what stands before them."""
        is_shared = server.listen == "systemd" or server.listen.startswith("unix:/")
        listen = None if is_shared else self._listener((*path, "listen"), server.listen)
        ops = self._listener((*path, "ops"), server.ops)
        if listen is not None and listen == ops and listen[1] != 0:
            self.fault(Code.ADDRESS_CLASH, (*path, "ops"), f"`ops` is {shown(server.ops)}, as `listen` is")
        if (
            listen is not None
            and server.tls is None
            and not server.trusted_proxies
            and not is_loopback(listen[0])
        ):
            message = (
                f"plain http on {shown(server.listen)} lets anybody on the way read and change everything"
            )
            hint = "add `tls`, listen on 127.0.0.1, or name the TLS proxy before it in `trusted_proxies`"
            self.fault(Code.UNSAFE, (*path, "listen"), message, hint)
        if ops is not None and not is_loopback(ops[0]):
            message = f"the operations listener on {shown(server.ops)} is open to others"
            self.fault(Code.EXPOSED, (*path, "ops"), message, "keep it on 127.0.0.1")
        self.networks((*path, "trusted_proxies"), server.trusted_proxies)
        for at, cidr in enumerate(server.trusted_proxies):
            if cidr in {"0.0.0.0/0", "::/0"}:
                message = "everybody may claim any client address and any device certificate"
                self.fault(Code.UNSAFE, (*path, "trusted_proxies", at), message, "name the proxies only")
        self.networks((*path, "proxy_protocol"), server.proxy_protocol)
        for at, cidr in enumerate(server.proxy_protocol):
            if cidr in {"0.0.0.0/0", "::/0"}:
                message = "everybody may claim any client address"
                self.fault(Code.UNSAFE, (*path, "proxy_protocol", at), message, "name the balancers only")
        if isinstance(server.workers, int) and not 0 <= server.workers <= MAX_WORKERS:
            hint = f"0 to {MAX_WORKERS}, or `auto`"
            self.fault(Code.RANGE, (*path, "workers"), f"{server.workers} workers are out of range", hint)
        if len(server.run_dir.encode()) > MAX_RUN_DIR_BYTES:
            message = f"the path has more than {MAX_RUN_DIR_BYTES} bytes, too long for a Unix socket"
            self.fault(Code.FORM, (*path, "run_dir"), message)

    def _listener(self, path: KeyPath, address: str) -> tuple[str, int] | None:
        parsed = parse_listen(address)
        if parsed is None:
            hint = "write `127.0.0.1:8080` or `[::1]:8080`, or `unix:/path` or `systemd` for `listen`"
            self.fault(Code.URL, path, f"{shown(address)} is not `address:port`", hint)
        return parsed

    def check_limits(self, path: KeyPath, limits: Limits) -> None:
        """Check that no bound is zero."""
        self.positive(path, limits, *limits.__struct_fields__)

    def check_tls(self, path: KeyPath, tls: Tls) -> None:
        """Check certificates and the device CA."""
        if not tls.certificates:
            self.fault(Code.MISSING_KEY, (*path, "certificates"), "at least one certificate is needed")
        asks = tls.client_certificates is not ClientCertificates.OFF
        if asks and tls.client_ca is None:
            message = f"`client_certificates: {tls.client_certificates}` needs `client_ca`"
            self.fault(
                Code.DEVICE, (*path, "client_certificates"), message, "the PEM bundle of the device CA"
            )
        if (
            not asks
            and tls.client_ca is not None
            and not any(s.header for _, s in self.all(DeviceCertificate))
        ):
            message = "`client_ca` has no effect: no client certificate is asked for"
            self.fault(
                Code.WITHOUT_EFFECT, (*path, "client_ca"), message, "set `client_certificates: optional`"
            )
        self.bundle((*path, "client_ca"), tls.client_ca)

    def check_certificate(self, path: KeyPath, certificate: Certificate) -> None:
        """Check that certificate and key are there, can be read and belong together."""
        files = {"cert": certificate.cert, "key": certificate.key}
        are_there = [self.readable((*path, key), name) for key, name in files.items()]
        if not all(are_there):
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password of its own the library would ask for that of an encrypted key at the terminal.
            context.load_cert_chain(self.base / certificate.cert, self.base / certificate.key, password="")
        except (OSError, ValueError) as error:
            message = (
                f"{shown(certificate.cert)} and {shown(certificate.key)} cannot be used: {_reason(error)}"
            )
            hint = "PEM: the leaf first, then intermediates; its own key, not encrypted"
            self.fault(Code.FILE_NEEDED, (*path, "cert"), message, hint)

    def check_store(self, path: KeyPath, store: Store) -> None:
        """Check the address of the store and the strength of its key."""
        scheme, _, rest = store.url.partition(":")
        if (
            scheme != "sqlite"
            or not rest.strip("/")
            or (rest.startswith("//") and not rest.startswith("///"))
        ):
            hint = "write `sqlite:///absolute/path/state.db`, or `sqlite:state.db` beside this file"
            self.fault(Code.URL, (*path, "url"), f"{shown(store.url)} is no address of a store", hint)
        if store.key is not None and len(store.key.reveal().encode()) < MIN_KEY_BYTES:
            message = f"the key has less than {MIN_KEY_BYTES} bytes"
            self.fault(Code.SECRET, (*path, "key"), message, "make one with `openssl rand -base64 32`")

    def check_provider(self, path: KeyPath, provider: Provider) -> None:
        """Check that a provider could work and that nothing weak is accepted from it."""
        self._issuer((*path, "issuer"), provider.issuer)
        if not provider.client_id.strip():
            self.fault(Code.PROVIDER, (*path, "client_id"), "the client id is empty")
        needs_secret = provider.client_auth in {ClientAuth.BASIC, ClientAuth.POST}
        if needs_secret and provider.client_secret is None:
            message = f"`client_auth: {provider.client_auth}` needs `client_secret`"
            self.fault(Code.PROVIDER, (*path, "client_auth"), message, "or `none` for a public client")
        if provider.client_auth is ClientAuth.NONE and provider.client_secret is not None:
            message = "`client_secret` has no effect: `client_auth` is `none`"
            self.fault(Code.WITHOUT_EFFECT, (*path, "client_secret"), message)
        for at, algorithm in enumerate(provider.algorithms):
            if algorithm not in SIGNATURES:
                message = f"signature algorithm {shown(algorithm)} is not accepted"
                self.fault(
                    Code.PROVIDER, (*path, "algorithms", at), message, did_you_mean(algorithm, SIGNATURES)
                )
        if not provider.algorithms:
            self.fault(Code.PROVIDER, (*path, "algorithms"), "no algorithm is accepted: nobody could sign in")
        if "openid" not in provider.scopes:
            message = "`openid` is not among the scopes: the provider would give no ID token"
            self.fault(Code.PROVIDER, (*path, "scopes"), message)
        for name in provider.authorize_params:
            if name in RESERVED_PARAMETERS:
                where = (*path, "authorize_params", name)
                self.fault(Code.PROVIDER, where, f"the gateway sets {shown(name)} itself")
        self.bundle((*path, "ca"), provider.ca)

    def _issuer(self, path: KeyPath, issuer: str) -> None:
        url = parse_url(issuer)
        if url is None or url.scheme not in {"http", "https"} or url.query or url.fragment:
            hint = "exactly as `issuer` stands in the provider's metadata, such as `https://idp.example.org`"
            self.fault(Code.URL, path, f"{shown(issuer)} is no issuer", hint)
        elif issuer.endswith("/.well-known/openid-configuration"):
            hint = f"did you mean `{issuer.removesuffix('/.well-known/openid-configuration')}`?"
            self.fault(Code.URL, path, "this is the address of the metadata, not the issuer", hint)
        elif url.scheme == "http" and not is_loopback(url.hostname or ""):
            message = "an issuer over plain http lets anybody on the way sign in as anybody"
            self.fault(Code.UNSAFE, path, message, "https, or a loopback host for a demo")

    def check_app(self, path: KeyPath, app: App) -> None:
        """Check an app's addresses and its provider."""
        self._host((*path, "host"), app.host)
        self._upstream(path, app)
        self._path_prefix((*path, "path_prefix"), app.path_prefix)
        self._prefix_changes(path, app)
        self._client_certificate((*path, "client_certificate"), app)
        for at, prefix in enumerate(app.public_paths):
            self._path_prefix((*path, "public_paths", at), prefix)
            if prefix == "/":
                message = f"every path of `{app.name}` is public: nobody has to sign in"
                self.fault(Code.LENIENT, (*path, "public_paths", at), message)
        if app.provider is not None:
            self.reference((*path, "provider"), app.provider, "providers", "provider")
        self.positive(path, app, "body_bytes")

    def _host(self, path: KeyPath, host: str) -> None:
        if _HOST.fullmatch(host) is None or is_bad_host(host):
            self.fault(Code.HOST, path, f"{shown(host)} is not a host name", _host_hint(host))

    def _upstream(self, path: KeyPath, app: App) -> None:
        self.bundle((*path, "upstream_ca"), app.upstream_ca)
        if app.upstream_ca is not None and not any(each.startswith("https://") for each in app.upstreams):
            message = "`upstream_ca` has no effect: the upstream is not https"
            self.fault(Code.WITHOUT_EFFECT, (*path, "upstream_ca"), message)
        if not app.upstreams:
            self.fault(Code.MISSING_KEY, (*path, "upstream"), "at least one address is needed")
        for at, upstream in enumerate(app.upstreams):
            where = (*path, "upstream") if isinstance(app.upstream, str) else (*path, "upstream", at)
            self._upstream_address(where, upstream)
            if upstream in app.upstreams[:at]:
                self.fault(Code.ADDRESS_CLASH, where, f"{shown(upstream)} stands twice")

    def _upstream_address(self, where: KeyPath, upstream: str) -> None:
        hint = "`http://host:port`, `https://host:port` or `unix:/path`"
        if upstream.startswith("unix:"):
            if not upstream.removeprefix("unix:").startswith("/"):
                self.fault(Code.URL, where, "the path of a Unix socket is absolute", "`unix:/path`")
            return
        url = parse_url(upstream)
        if url is None or url.scheme not in {"http", "https"} or not url.hostname:
            self.fault(Code.URL, where, f"{shown(upstream)} is no address of an app", hint)
        elif url.username or url.query or url.fragment:
            message = f"{shown(upstream)} has a user, query or fragment"
            self.fault(Code.URL, where, message, hint)
        elif url.path not in {"", "/"}:
            message = f"{shown(upstream)} has a path, which belongs into `add_prefix`"
            self.fault(Code.URL, where, message, f"did you mean `{url.scheme}://{url.netloc}`?")

    def _path_prefix(self, path: KeyPath, prefix: str) -> None:
        fault = pattern_fault(prefix)
        if fault is None and "*" in prefix:
            fault = "a prefix has no `*`"
        if fault is None and any(prefix == own or prefix.startswith(own + "/") for own in RESERVED_PREFIXES):
            fault = "the gateway's own paths begin so"
        if fault is not None:
            self.fault(Code.URL, path, f"{shown(prefix)} is no path prefix: {fault}")

    def _prefix_changes(self, path: KeyPath, app: App) -> None:
        """Check what happens to paths on the way to the app."""
        if app.strip_prefix and app.path_prefix == "/":
            message = "`strip_prefix` has no effect: there is no `path_prefix`"
            self.fault(Code.WITHOUT_EFFECT, (*path, "strip_prefix"), message)
        if app.add_prefix:
            fault = path_fault(app.add_prefix)
            if fault is not None:
                message = f"{shown(app.add_prefix)} is no path prefix: {fault}"
                self.fault(Code.URL, (*path, "add_prefix"), message)
        if app.strip_prefix and app.path_prefix != "/" and path_fault(app.path_prefix) is not None:
            message = f"{shown(app.path_prefix)} cannot be stripped: {path_fault(app.path_prefix)}"
            self.fault(Code.URL, (*path, "path_prefix"), message)

    def _client_certificate(self, path: KeyPath, app: App) -> None:
        server = next((server for _, server in self.all(Server)), Server())
        asks = server.tls is not None and server.tls.client_certificates is not ClientCertificates.OFF
        arrives = asks or any(source.header for _, source in self.all(DeviceCertificate))
        is_required = app.client_certificate is ClientCertificates.REQUIRED
        if is_required and not arrives and self.decoder.is_sound(("server", "tls")):
            message = f"nobody could use `{app.name}`: no client certificate can arrive"
            hint = "set `server.tls.client_certificates: optional`"
            self.fault(Code.DEVICE, path, message, hint)

    def check_health(self, path: KeyPath, health: HealthCheck) -> None:
        """Check that an active check can be sent."""
        self.positive(path, health, "every", "timeout")
        fault = path_fault(health.path.partition("?")[0])
        if fault is not None or _QUERY.fullmatch(health.path.partition("?")[2]) is None:
            message = (
                f"{shown(health.path)} cannot be asked for: {fault or 'its query has a character to escape'}"
            )
            self.fault(Code.URL, (*path, "path"), message, "such as `/healthz`")

    def check_timeouts(self, path: KeyPath, timeouts: Timeouts) -> None:
        """Check that no time is zero."""
        self.positive(path, timeouts, "connect", "response", "idle")

    def check_sensor(self, path: KeyPath, sensor: Sensor) -> None:
        """Check a sensor's bounds and that its silence has been thought of."""
        self.positive(path, sensor, "max_silence", "body_bytes", "rate")
        if not self.decoder.is_given((*path, "max_silence")):
            message = f"sensor `{sensor.name}` may be silent for ever: nobody said when that counts"
            hint = "set `max_silence: 24h`, or `max_silence: null` for a sensor that speaks only of incidents"
            self.fault(Code.NO_SILENCE, (*path, "max_silence"), message, hint)

    def check_standard_webhooks(self, path: KeyPath, auth: StandardWebhooks) -> None:
        """Check that the secrets are what the scheme says."""
        self._secret_count(path, auth.secrets)
        self.positive(path, auth, "tolerance")
        for at, secret in enumerate(auth.secrets):
            if not is_whsec(secret) and not is_whpk(secret):
                low, high = WHSEC_BYTES
                message = f"a secret is `whsec_` and base64 of {low} to {high} bytes, or a `whpk_` public key"
                hint = "`posturegate init` makes one, or: echo whsec_$(openssl rand -base64 32)"
                self.fault(Code.SECRET, (*path, "secrets", at), message, hint)

    def check_bearer(self, path: KeyPath, auth: Bearer) -> None:
        """Check that the secrets cannot be guessed and fit a header."""
        self._secret_count(path, auth.secrets)
        self._header(path, "header", auth.header)
        self._shared_secrets(path, auth.secrets, "bearer secret")

    def check_basic(self, path: KeyPath, auth: Basic) -> None:
        """Check that the passwords cannot be guessed and that the name fits before a colon."""
        self._secret_count(path, auth.secrets)
        if not auth.username or ":" in auth.username or not auth.username.isprintable():
            message = f"{shown(auth.username)} is no user name: printable text without a colon"
            self.fault(Code.FORM, (*path, "username"), message)
        self._shared_secrets(path, auth.secrets, "password")

    def check_hmac(self, path: KeyPath, auth: Hmac) -> None:
        """Check that the message can be put together, and that what it rests on is signed."""
        self._secret_count(path, auth.secrets)
        self.positive(path, auth, "tolerance")
        for name in ("signature_header", "timestamp_header", "id_header"):
            if name == "signature_header" or getattr(auth, name):
                self._header(path, name, getattr(auth, name))
        try:
            parse_message(auth.message, auth.timestamp_header, auth.id_header)
        except ValueError as error:
            self.fault(Code.FORM, (*path, "message"), str(error), "such as `{timestamp}.{body}`")
        self._shared_secrets(path, auth.secrets, "HMAC secret")

    def _header(self, path: KeyPath, name: str, header: str) -> None:
        if _TOKEN.fullmatch(header) is None:
            self.fault(Code.FORM, (*path, name), f"{shown(header)} is not a header name")

    def _shared_secrets(self, path: KeyPath, secrets: tuple[Secret, ...], what: str) -> None:
        """Check that secrets cannot be guessed and fit a header."""
        article = "an" if what.startswith("HMAC") else "a"
        for at, secret in enumerate(secrets):
            text = secret.reveal()
            if len(text.encode()) < MIN_BEARER_BYTES:
                message = f"{article} {what} has at least {MIN_BEARER_BYTES} bytes"
                self.fault(
                    Code.SECRET, (*path, "secrets", at), message, "make one with `openssl rand -hex 24`"
                )
            elif not text.isascii() or not text.isprintable() or " " in text:
                message = f"{article} {what} is printable ASCII without spaces"
                self.fault(Code.SECRET, (*path, "secrets", at), message)

    def _secret_count(self, path: KeyPath, secrets: tuple[Secret, ...]) -> None:
        if not 1 <= len(secrets) <= MAX_SECRETS:
            message = f"{len(secrets)} secrets are given"
            self.fault(Code.SECRET, (*path, "secrets"), message, "one, or two while rotating")

    def check_device_claim(self, path: KeyPath, source: DeviceClaim) -> None:
        """Check a device claim."""
        self._identifier_kind((*path, "kind"), source.kind)
        if not source.claim or "" in source.claim.split("."):
            hint = "`device_id`, or `device.serial` for a member"
            self.fault(Code.DEVICE, (*path, "claim"), f"{shown(source.claim)} is no path of a claim", hint)

    def check_device_certificate(self, path: KeyPath, source: DeviceCertificate) -> None:
        """Check that such a certificate can arrive and that its id can be read."""
        self._identifier_kind((*path, "kind"), source.kind)
        if source.field not in CERTIFICATE_FIELDS:
            message = f"unknown certificate field {shown(source.field)}"
            hint = did_you_mean(source.field, CERTIFICATE_FIELDS)
            self.fault(Code.UNKNOWN_WORD, (*path, "field"), message, hint)
        try:
            captures = re.compile(source.match).groups
        except (re.error, OverflowError, RecursionError) as error:
            message = f"{shown(source.match)} is not a regular expression: {error}"
            self.fault(Code.PATTERN, (*path, "match"), message)
        else:
            if captures != 1:
                message = f"{shown(source.match)} has {captures} captures, not one"
                self.fault(Code.PATTERN, (*path, "match"), message, "others are written `(?:…)`")
        self._certificate_arrives(path, source)
        self.bundle((*path, "ca"), source.ca)

    def _certificate_arrives(self, path: KeyPath, source: DeviceCertificate) -> None:
        server = next((server for _, server in self.all(Server)), Server())
        tls = server.tls
        asks = tls is not None and tls.client_certificates is not ClientCertificates.OFF
        if (
            source.header
            and not server.trusted_proxies
            and self.decoder.is_sound(("server", "trusted_proxies"))
        ):
            message = "`header: true` needs `server.trusted_proxies`: else anybody could send the header"
            self.fault(Code.UNSAFE, (*path, "header"), message)
        if source.header and source.ca is None and (tls is None or tls.client_ca is None):
            message = "`header: true` needs the device CA to verify what the proxy passes on"
            self.fault(Code.DEVICE, (*path, "header"), message, "set `ca`, or `server.tls.client_ca`")
        if not source.header and not asks and self.decoder.is_sound(("server", "tls")):
            message = "no device certificate can arrive: the listener does not ask for one"
            hint = "set `server.tls.client_certificates: optional`, or `header: true` behind a trusted proxy"
            self.fault(Code.DEVICE, path, message, hint)

    def _identifier_kind(self, path: KeyPath, kind: str) -> None:
        if re.fullmatch(r"[a-z][a-z0-9-]{0,62}", kind) is None:
            hint = f"lower-case letters, digits and dashes; known: {', '.join(STRONG_KINDS)}"
            self.fault(Code.FORM, path, f"{shown(kind)} is no kind of identifier", hint)
        elif kind not in STRONG_KINDS:
            message = f"identifiers of kind `{kind}` may belong to several devices"
            hint = f"kinds that name one device: {', '.join(STRONG_KINDS)}"
            self.fault(Code.WEAK_DEVICE, path, message, hint)

    def check_network(self, path: KeyPath, network: Network) -> None:
        """Check a named location."""
        self.networks((*path, "cidrs"), network.cidrs)
        if not network.cidrs:
            self.fault(Code.NETWORK, (*path, "cidrs"), f"network `{network.name}` has no address range")

    def check_sessions(self, path: KeyPath, sessions: Sessions) -> None:
        """Check the lifetimes."""
        self.positive(path, sessions, "idle", "absolute", "per_user")
        if sessions.idle > sessions.absolute:
            message = "`idle` is longer than `absolute` and has no effect"
            self.fault(Code.WITHOUT_EFFECT, (*path, "idle"), message)

    def check_decisions(self, path: KeyPath, decisions: Decisions) -> None:
        """Check the bounds of kept records."""
        self.positive(path, decisions, "keep", "most")

    # --- compliance ----------------------------------------------------------------------------------------

    def check_compliance(self, path: KeyPath, compliance: Compliance) -> None:
        """Check what devices are held to when no policy is there."""
        if compliance.uncovered in {ComplianceState.COMPLIANT, ComplianceState.IN_GRACE_PERIOD}:
            message = f"`uncovered: {compliance.uncovered}` lets a device pass that nothing was asked of"
            self.fault(Code.LENIENT, (*path, "uncovered"), message, "`noncompliant` is safe")

    def check_compliance_policy(self, path: KeyPath, policy: CompliancePolicy) -> None:
        """Check a compliance policy and the names of its rules."""
        if not policy.rules:
            message = f"compliance policy `{policy.name}` has no rule"
            self.fault(Code.COMPLIANCE_RULE, (*path, "rules"), message)
        rules = [
            ((*rule_path, "name"), rule.name)
            for rule_path, rule in self.decoder.sections
            if isinstance(rule, RiskRule | FactRule | SensorRule) and rule_path[:-2] == path
        ]
        self.unique(sorted(rules, key=lambda entry: entry[0][len(path) + 1]), "rules")

    def check_risk_rule(self, path: KeyPath, rule: RiskRule) -> None:
        """Check a risk rule."""
        if rule.max is RiskLevel.UNKNOWN:
            message = "an unknown risk never meets a rule"
            self.fault(Code.COMPLIANCE_RULE, (*path, "max"), message, "known: none, low, medium, high")

    def check_fact_rule(self, path: KeyPath, rule: FactRule) -> None:
        """Check that a fact rule compares exactly once, and with something."""
        given = [name for name in ("equals", "at_least", "one_of") if getattr(rule, name) is not None]
        if len(given) != 1 and all(
            self.decoder.is_sound((*path, n)) for n in ("equals", "at_least", "one_of")
        ):
            found = f"has {' and '.join(f'`{name}`' for name in given)}" if given else "compares with nothing"
            hint = "exactly one of `equals`, `at_least`, `one_of`"
            self.fault(Code.COMPLIANCE_RULE, path, f"rule `{rule.name}` {found}", hint)
        if rule.at_least is not None and parse_version(rule.at_least) is None:
            message = f"{shown(rule.at_least)} is not a version that can be ordered"
            self.fault(Code.COMPLIANCE_RULE, (*path, "at_least"), message, "such as `14.5` or `10.0.22631`")
        if rule.one_of == ():
            self.fault(Code.COMPLIANCE_RULE, (*path, "one_of"), "no value is acceptable: the list is empty")
        if not rule.fact.strip():
            self.fault(Code.COMPLIANCE_RULE, (*path, "fact"), "the name of the fact is empty")
        self.positive(path, rule, "max_age")

    def check_sensor_rule(self, path: KeyPath, rule: SensorRule) -> None:
        """Check a sensor rule."""
        self.reference((*path, "sensor"), rule.sensor, "sensors", "sensor")
        self.positive(path, rule, "seen_within")

    # --- access --------------------------------------------------------------------------------------------

    def check_access_policy(self, path: KeyPath, policy: AccessPolicy) -> None:
        """Check that an access policy can match, and has what its decision needs."""
        self.references((*path, "apps"), policy.apps, "apps", "app")
        if policy.exclude is not None and not policy.exclude.users and not policy.exclude.groups:
            message = "`exclude` names nobody"
            self.fault(
                Code.ACCESS_POLICY, (*path, "exclude"), message, "name `users` or `groups`, or leave it out"
            )
        if policy.decision in {Outcome.ALLOW, Outcome.RESTRICT}:
            self._empty_lists(path, policy)
        if self.decoder.is_sound((*path, "decision")):
            self._controls(path, policy)
            self._step_up(path, policy)

    def _empty_lists(self, path: KeyPath, policy: AccessPolicy) -> None:
        """Point at lists without an entry: they limit nothing, where somebody may have meant nobody."""
        if self.decoder.is_given((*path, "include")) and is_for_everyone(policy):
            message = f"`include` of `{policy.name}` names nobody, so the policy covers everyone"
            hint = "name `users` or `groups`, or leave `include` out"
            self.fault(Code.LENIENT, (*path, "include"), message, hint)
        for key in policy.when.__struct_fields__:
            where: KeyPath = (*path, "when", key)
            if getattr(policy.when, key) == () and self.decoder.is_given(where):
                message = f"`{key}` lists nothing, so the policy holds for every value"
                self.fault(Code.LENIENT, where, message, "name a value, or leave it out")

    def _controls(self, path: KeyPath, policy: AccessPolicy) -> None:
        where = (*path, "controls")
        if policy.decision is Outcome.RESTRICT and not policy.controls:
            self.fault(
                Code.ACCESS_POLICY, where, f"policy `{policy.name}` restricts nothing", "name `controls`"
            )
        if policy.decision is not Outcome.RESTRICT and policy.controls:
            message = f"`controls` belong to `decision: restrict`, not to `{policy.decision}`"
            self.fault(Code.ACCESS_POLICY, where, message)

    def _step_up(self, path: KeyPath, policy: AccessPolicy) -> None:
        where = (*path, "step_up")
        step_up = policy.step_up
        if policy.decision is not Outcome.STEP_UP and step_up is not None:
            message = f"`step_up` belongs to `decision: step-up`, not to `{policy.decision}`"
            self.fault(Code.ACCESS_POLICY, where, message)
        elif policy.decision is Outcome.STEP_UP and step_up is None:
            message = f"policy `{policy.name}` does not say what the stronger sign-in must bring"
            self.fault(Code.ACCESS_POLICY, where, message, "`step_up: {acr_values: […]}` or `{max_age: …}`")
        elif step_up is not None and not step_up.acr_values and step_up.max_age is None:
            self.fault(Code.ACCESS_POLICY, where, "`step_up` asks for nothing", "`acr_values` or `max_age`")
        elif step_up is not None:
            self.positive(where, step_up, "max_age")

    def check_conditions(self, path: KeyPath, when: Conditions) -> None:
        """Check the names, methods and paths of an access policy's conditions."""
        self.references((*path, "providers"), when.providers, "providers", "provider")
        self.references((*path, "networks"), when.networks, "networks", "network")
        self.references((*path, "not_networks"), when.not_networks, "networks", "network")
        for at, method in enumerate(when.methods):
            if _METHOD.fullmatch(method) is None:
                hint = f"did you mean `{method.upper()}`?"
                self.fault(Code.FORM, (*path, "methods", at), f"{shown(method)} is not a method", hint)
        for key, patterns in (("paths", when.paths), ("not_paths", when.not_paths)):
            for at, pattern in enumerate(patterns):
                fault = pattern_fault(pattern)
                if fault is not None:
                    message = f"{shown(pattern)} is no path pattern: {fault}"
                    self.fault(Code.PATTERN, (*path, key, at), message)

    # --- the whole -----------------------------------------------------------------------------------------

    def check_whole(self) -> None:
        """Check what concerns several sections."""
        self._unique_names()
        self._public_url()
        self._app_addresses()
        providers = self.decoder.nodes.get(("providers",))
        if providers is not None and not providers.value and self.decoder.is_sound(("providers",)):
            self.fault(Code.MISSING_KEY, ("providers",), "at least one provider is needed to sign in at")
        self._who_gets_in()

    def _unique_names(self) -> None:
        for kind, noun in (
            (Provider, "providers"),
            (App, "apps"),
            (Sensor, "sensors"),
            (Network, "networks"),
            (CompliancePolicy, "compliance policies"),
            (AccessPolicy, "access policies"),
        ):
            entries: list[tuple[KeyPath, Any]] = self.all(kind)
            self.unique([((*path, "name"), each.name) for path, each in entries], noun)
            for path, each in entries:
                if not each.name.strip():
                    self.fault(Code.FORM, (*path, "name"), "the name is empty")

    def _public_url(self) -> None:
        where = ("public_url",)
        public = self.decoder.leaves.get(where)
        if not isinstance(public, str):
            return
        url = parse_url(public)
        if url is None or url.scheme not in {"http", "https"} or not url.hostname or url.username:
            hint = "the origin of the login host, such as `https://login.example.org`"
            self.fault(Code.URL, where, f"{shown(public)} is no origin", hint)
            return
        if url.path or url.query or url.fragment:
            hint = f"did you mean `{url.scheme}://{url.netloc}`?"
            self.fault(Code.URL, where, f"{shown(public)} is more than an origin", hint)
        if url.scheme == "http":
            self._plain_public_url(where, url)
        elif is_bad_host(url.hostname) or _HOST.fullmatch(url.hostname) is None or "*" in url.hostname:
            self.fault(Code.HOST, where, f"{shown(url.hostname)} is not a host name")

    def _plain_public_url(self, where: KeyPath, url: SplitResult) -> None:
        """Plain http is for a demo on one machine: every address must be loopback."""
        server = next((server for _, server in self.all(Server)), Server())
        listen = parse_listen(server.listen)
        hint = "https, or `http://login.localhost:8080` with a loopback listener for a demo"
        if not is_loopback(url.hostname or ""):
            self.fault(Code.UNSAFE, where, "plain http would send session cookies in the clear", hint)
        elif server.tls is not None:
            self.fault(Code.UNSAFE, where, "`public_url` is http but the listener speaks TLS", "https")
        elif listen is not None and not is_loopback(listen[0]):
            message = f"plain http needs a loopback listener, not {shown(server.listen)}"
            self.fault(Code.UNSAFE, where, message, hint)
        else:
            for path, app in self.all(App):
                if not is_loopback(app.host.removeprefix("*.")):
                    message = f"{shown(app.host)} would get its cookie over plain http"
                    self.fault(Code.UNSAFE, (*path, "host"), message, "a host below `localhost`, or https")

    def _app_addresses(self) -> None:
        first: dict[tuple[str, str], tuple[KeyPath, App]] = {}
        for path, app in self.all(App):
            address = (app.host.rstrip("."), app.path_prefix.rstrip("/"))
            if address in first:
                other = first[address][1].name
                message = f"`{app.name}` and `{other}` are both {shown(app.host + app.path_prefix)}"
                self.fault(
                    Code.ADDRESS_CLASH, (*path, "host"), message, "give them different `path_prefix`es"
                )
            first.setdefault(address, (path, app))

    def _who_gets_in(self) -> None:
        policies = [policy for _, policy in self.all(AccessPolicy) if policy.mode is Mode.ENFORCE]
        if not self.decoder.is_sound(("access",)):
            return
        letting_in = [policy for policy in policies if policy.decision in {Outcome.ALLOW, Outcome.RESTRICT}]
        if not letting_in:
            message = "no access policy lets anybody in: every request will be blocked"
            where: KeyPath = ("access", "policies") if self.decoder.is_given(("access",)) else ()
            self.fault(Code.NOBODY_GETS_IN, where, message, "add one with `decision: allow`")
            return
        self._limits_that_let_in(letting_in)
        for path, app in self.all(App):
            if not any(not policy.apps or app.name in policy.apps for policy in letting_in):
                message = f"no access policy lets anybody into `{app.name}`"
                self.fault(Code.NOBODY_GETS_IN, path, message, "add one with `decision: allow`")

    def _limits_that_let_in(self, letting_in: list[AccessPolicy]) -> None:
        """Point at a `restrict` that covers everyone where others let in only some."""
        allows = [policy for policy in letting_in if policy.decision is Outcome.ALLOW]
        if not allows or any(is_for_everyone(policy) for policy in allows):
            return
        for path, policy in self.all(AccessPolicy):
            if policy in letting_in and policy.decision is Outcome.RESTRICT and is_for_everyone(policy):
                message = f"`{policy.name}` lets in everyone who signs in, with limits"
                hint = "`restrict` lets in by itself: name whom it covers by `include`"
                self.fault(Code.LENIENT, path, message, hint)


_Check = Callable[[_Checks, KeyPath, Any], None]

_BY_SECTION: Mapping[type, _Check] = {
    Server: _Checks.check_server,
    Limits: _Checks.check_limits,
    Tls: _Checks.check_tls,
    Certificate: _Checks.check_certificate,
    Store: _Checks.check_store,
    Provider: _Checks.check_provider,
    App: _Checks.check_app,
    HealthCheck: _Checks.check_health,
    Timeouts: _Checks.check_timeouts,
    Sensor: _Checks.check_sensor,
    StandardWebhooks: _Checks.check_standard_webhooks,
    Bearer: _Checks.check_bearer,
    Basic: _Checks.check_basic,
    Hmac: _Checks.check_hmac,
    DeviceClaim: _Checks.check_device_claim,
    DeviceCertificate: _Checks.check_device_certificate,
    Network: _Checks.check_network,
    Sessions: _Checks.check_sessions,
    Decisions: _Checks.check_decisions,
    Compliance: _Checks.check_compliance,
    CompliancePolicy: _Checks.check_compliance_policy,
    RiskRule: _Checks.check_risk_rule,
    FactRule: _Checks.check_fact_rule,
    SensorRule: _Checks.check_sensor_rule,
    AccessPolicy: _Checks.check_access_policy,
    Conditions: _Checks.check_conditions,
}


# --- forms ---------------------------------------------------------------------------------------------


def _reason(error: Exception) -> str:
    """Return what OpenSSL said, in words: `key values mismatch` of `[X509: KEY_VALUES_MISMATCH] key values ...`."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def is_for_everyone(policy: AccessPolicy) -> bool:
    """Return whether a policy covers every person."""
    return not policy.include.users and not policy.include.groups


def parse_url(text: str) -> SplitResult | None:
    """Return the parts of a URL without spaces, controls or a bad port, None when it is none."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme and url.netloc and url.hostname else None


def path_fault(path: str) -> str | None:
    """Return why a text is not the one spelling of a path that every app reads alike, None when it is."""
    raw = path.encode()
    try:
        canonical = canonical_path(raw)
    except RequestFault as fault:
        return fault.detail
    if canonical != raw:
        return f"write `{canonical.decode()}`"
    return "apps may disagree about what it means" if is_ambiguous(canonical) else None


def parse_listen(text: str) -> tuple[str, int] | None:
    """Return address and port of `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`, None when it is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - ports
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if host in {"", "*"}:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host.lower()) is None or is_bad_host(host) or "*" in host:
            return None
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: a loopback address, `localhost` or a name below it."""
    name = host.lower().rstrip(".").removeprefix("[").removesuffix("]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_bad_host(host: str) -> bool:
    """Return whether a host looks like an address but is none (`10.0.0.300`), or is too long."""
    name = host.rstrip(".")
    looks_like_address = all(label.isdigit() for label in name.split("."))
    if looks_like_address:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return True
    return len(name) > 253  # noqa: PLR2004 - RFC 1035


def is_whsec(secret: Secret) -> bool:
    """Return whether a secret is `whsec_` and base64 of 24 to 64 bytes. Source: Standard Webhooks 1.0."""
    text = secret.reveal()
    if not text.startswith("whsec_"):
        return False
    try:
        raw = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    low, high = WHSEC_BYTES
    return low <= len(raw) <= high


def is_whpk(secret: Secret) -> bool:
    """Return whether a secret is `whpk_` and base64 of an Ed25519 public key. Source: Standard Webhooks 1.0."""
    try:
        parse_public_key(secret)
    except ValueError:
        return False
    return True


def _cidr_hint(cidr: str) -> str:
    try:
        return f"did you mean `{ipaddress.ip_network(cidr, strict=False)}`?"
    except ValueError:
        return "such as `10.0.0.0/8` or `2001:db8::/32`"


def _host_hint(host: str) -> str:
    if "://" in host:
        name = parse_url(host)
        return f"did you mean `{name.hostname}`? without scheme and port" if name else "without scheme"
    if host != host.lower():
        return f"did you mean `{host.lower()}`?"
    if re.fullmatch(r"[^:]+:[0-9]+", host):
        return f"did you mean `{host.rpartition(':')[0]}`? the port is `server.listen`'s"
    if not host.isascii():
        return "write international names in their `xn--` form"
    if "*" in host:
        return "`*.example.org` stands for one label; `*` stands nowhere else"
    return "such as `app.example.org`"
