"""The whole configuration as one typed, closed tree. `gateway.config.load` turns YAML text into it.

Every class docstring and the `Field:` lines in it are the source of the generated reference
(`docs/configuration.md`) and of the JSON Schema (`conf/posturegate.schema.json`).
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from compliance.model import AccessPolicy, CompliancePolicy, ComplianceState, Exemption
from compliance.policy_tests import Never, PolicyTest
from gateway.config.asked import CloudflareAccess
from gateway.config.authzen import AuthZen
from gateway.config.certificates import ClientCertificate
from gateway.config.deliveries import Deliveries
from gateway.config.locations import Network, WithoutCountries
from gateway.config.profiles import BannerMode, SessionProfile
from gateway.config.pulls import Pull
from gateway.config.remediation import PageSettings, Remediation
from gateway.config.shared_signals import SharedSignals
from gateway.config.weighing import Risk
from risk.model import RiskLevel, Severity
from risk.subjects import Subjects
from risk.values import ByteSize, Duration, Secret, Strict

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A name that other sections refer to: lower-case letters, digits, dot, dash, underscore."""


class ClientCertificates(StrEnum):
    """Whether the TLS listener asks for a client certificate."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Certificate(Strict, frozen=True):
    """A server certificate for TLS.

    Field: cert: PEM file with the leaf first, then intermediates.
    Field: key: PEM file with the private key.
    """

    cert: str
    key: str


class Tls(Strict, frozen=True):
    """TLS at the gateway's own listener.

    Field: certificates: chosen by SNI; the first one is the default.
    Field: client_certificates: `optional` asks every browser for a device certificate, `required` refuses
        without.
    Field: client_ca: PEM bundle of the device CA; never the system store.
    """

    certificates: tuple[Certificate, ...]
    client_certificates: ClientCertificates = ClientCertificates.OFF
    client_ca: str | None = None


class Limits(Strict, frozen=True):
    """Bounds of the data path; each has a safe default.

    Field: headers: most header fields of a request (431 above).
    Field: header_bytes: most bytes of request line and header fields together (431 above).
    Field: request_line_bytes: most bytes of the request line (414 above).
    Field: body_bytes: most bytes of a request body to an app (413 above).
    Field: header_timeout: time for a complete request head (408 after).
    Field: idle_timeout: how long a keep-alive connection may wait for the next request.
    Field: connect_timeout: time to connect to an upstream (504 after).
    Field: response_timeout: time until the upstream's response head (504 after).
    Field: stream_idle_timeout: how long a body may stand still in the middle; streams of events and
        upgrades are exempt.
    Field: body_progress_bytes: least number of bytes of a request's body that has to come in each
        `stream_idle_timeout` (408 below).
    Field: tunnel_idle_timeout: how long a WebSocket or other upgrade may be silent.
    Field: connections_per_client: most connections of one client address (429 above).
    Field: upstream_connections: most connections to one upstream (503 above, after the queue).
    Field: buffer_bytes: a sender is not read while a quarter of this waits for the other side. One read, of at
        most 256 KiB, comes on top: together that is the most held for one exchange in one direction.
    """

    headers: int = 100
    header_bytes: ByteSize = 32768
    request_line_bytes: ByteSize = 16384
    body_bytes: ByteSize = 1073741824
    header_timeout: Duration = 15.0
    idle_timeout: Duration = 75.0
    connect_timeout: Duration = 5.0
    response_timeout: Duration = 60.0
    stream_idle_timeout: Duration = 60.0
    body_progress_bytes: ByteSize = 1024
    tunnel_idle_timeout: Duration = 3600.0
    connections_per_client: int = 1000
    upstream_connections: int = 512
    buffer_bytes: ByteSize = 262144


class Server(Strict, frozen=True):
    """Where the gateway listens and how it runs.

    Field: limits: bounds of the data path.
    Field: listen: `host:port` of the one public listener; `unix:/path` for a Unix socket (its peer counts
        as 127.0.0.1 in `trusted_proxies`); or `systemd` for a socket that the service manager hands over.
    Field: tls: absent means plain http, which is accepted only on a loopback address or behind
        `trusted_proxies`.
    Field: ops: `host:port` of the operations listener (`/livez`, `/readyz`, `/metrics`); keep it on
        loopback.
    Field: workers: number of proxy processes, `auto` for one per core, 0 to proxy inside the hub's own
        process.
    Field: run_dir: folder of the Unix sockets between hub, workers and command line; made with mode 0700.
    Field: trusted_proxies: networks whose `X-Forwarded-*` and `Client-Cert` headers are believed; nobody by
        default.
    Field: proxy_protocol: networks of load balancers that begin every connection with a PROXY header, version
        1 or 2; the client's address is then the one in it, and a connection of theirs without one is closed.
    Field: drain: how long exchanges may finish at shutdown.
    Field: openapi: whether the login host serves `/.gate/openapi.json` and `/.gate/schemas`.
    """

    listen: str = "127.0.0.1:8080"
    tls: Tls | None = None
    ops: str = "127.0.0.1:9901"
    workers: int | Literal["auto"] = "auto"
    run_dir: str = "/run/posturegate"
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: tuple[str, ...] = ()
    limits: Limits = Limits()
    drain: Duration = 10.0
    openapi: bool = True


class Store(Strict, frozen=True):
    """Where state lives.

    Field: url: `sqlite:///absolute/path/state.db` (relative after two slashes fewer: `sqlite:state.db`).
    Field: key: secret from which the encryption key of stored tokens is made; default: a key file beside
        the database.
    """

    url: str = "sqlite:///var/lib/posturegate/state.db"
    key: Secret | None = None


class ClientAuth(StrEnum):
    """How the gateway proves itself at the token endpoint."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    NONE = "none"


class Provider(Strict, frozen=True):
    """An OpenID provider.

    Field: name: how apps, policies and the command line call this provider.
    Field: issuer: exactly the `issuer` of the provider's metadata, https (http only for a loopback demo).
    Field: client_id: the id that the provider gave the gateway.
    Field: client_secret: the secret that the provider gave the gateway; absent for a public client.
    Field: scopes: scopes to ask for; `openid` must be among them.
    Field: acr_values: authentication context classes to ask for at every sign-in.
    Field: authorize_params: further parameters of the authorization request, such as `prompt`.
    Field: ca: PEM bundle that signs the provider's certificate; default: the system store.
    Field: client_auth: default `client_secret_basic` with a secret, `none` (public client with PKCE)
        without.
    Field: algorithms: ID-token signature algorithms that are accepted; never taken from the token.
    Field: groups_claim: path of the claim that lists groups, dots between members (`realm_access.roles`); a
        claim whose own name has dots wins when it is there.
    Field: roles_claim: path of the claim that lists roles, which policies name by `roles`; without it nobody's roles
        are known.
    Field: keep_claims: paths of claims that are kept with the session, for the condition `claims` of access policies.
    Field: require_email_verified: whether an e-mail address names the user in policies only when it is
        verified.
    Field: userinfo: whether claims missing from the ID token are asked from the userinfo endpoint.
    Field: label: what the sign-in page calls this provider.
    """

    name: Name
    issuer: str
    client_id: str
    client_secret: Secret | None = None
    client_auth: ClientAuth | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")
    groups_claim: str = "groups"
    roles_claim: str = ""
    keep_claims: tuple[str, ...] = ()
    require_email_verified: bool = True
    userinfo: bool = True
    acr_values: tuple[str, ...] = ()
    authorize_params: dict[str, str] = msgspec.field(default_factory=dict)
    ca: str | None = None
    label: str = ""


class HealthCheck(Strict, frozen=True):
    """How every worker asks each address of an app whether it is well: a GET that 2xx or 3xx answers.

    An address is left out after two failures in a row and taken back after one success.

    Field: path: what is asked for, as the app knows it, without any prefix added or stripped.
    Field: every: time from one check to the next.
    Field: timeout: time in which the answer must begin.
    """

    path: str
    every: Duration = 5.0
    timeout: Duration = 2.0


class Timeouts(Strict, frozen=True):
    """Times of one app in place of the server's `limits`.

    Field: connect: time to connect (504 after); default: `connect_timeout`.
    Field: response: time until the response head (504 after); default: `response_timeout`.
    Field: idle: how long a body may stand still in the middle; default: `stream_idle_timeout`.
    Field: tunnel: how long a WebSocket or other upgrade may be silent; default: `tunnel_idle_timeout`.
    """

    connect: Duration | None = None
    response: Duration | None = None
    idle: Duration | None = None
    tunnel: Duration | None = None


class App(Strict, frozen=True):
    """An app behind the gateway.

    Field: name: how policies, pages and logs call this app.
    Field: host: public host name; `*.example.org` matches one label.
    Field: upstream: `http://`, `https://` or `unix:/path` address of the app, or a list of them: a request goes to
        the address with the fewest requests in progress, and past one that cannot be reached.
    Field: health: checks that leave out an address before a request meets it; without them, one that could
        not be reached five times in a row is tried once a second only.
    Field: timeouts: times of this app in place of the server's.
    Field: path_prefix: only requests below it belong to this app; several apps may share a host.
    Field: strip_prefix: whether the app is sent paths without `path_prefix`, which `X-Forwarded-Prefix` then
        tells it.
    Field: add_prefix: what every path begins with that the app is sent, such as `/v2`.
    Field: public_paths: path prefixes that need no sign-in, matched on the canonical path.
    Field: websocket_origins: origins of pages of other hosts that may open WebSockets to this app, such as
        `https://portal.example.org`; the app's own pages may, and programs, which send no `Origin`.
    Field: cors_preflights: whether CORS preflights reach the app, which browsers send without a session before a script
        of a page of another host may call it; the app says who may.
    Field: preserve_host: whether the app sees the public host name (`true`) or the upstream's own.
    Field: upstream_ca: PEM bundle that signs the upstream's certificate; default: the system store.
    Field: provider: name of the provider that people sign in at; default: the first.
    Field: owner: whom the pages name for help.
    Field: title: what the pages call the app; default: its name.
    Field: identity_headers: whether `X-Gate-User`, `-Email`, `-Name`, `-Groups` are sent beside the signed
        assertion.
    Field: body_bytes: most bytes of a request body; default: the server's limit.
    Field: client_certificate: `required` refuses requests without a device certificate (403), public paths included,
        and has browsers reconnect that came on a connection made for another host (421); `optional` takes
        one where it is presented; `off` ignores it for this app. The listener has to ask for certificates.
    Field: banner: who tells people of this app that their access is limited, whatever their session profiles say:
        `gateway`, `app` or `off`.
    """

    name: Name
    host: str
    upstream: str | tuple[str, ...]
    health: HealthCheck | None = None
    timeouts: Timeouts = Timeouts()
    path_prefix: str = "/"
    strip_prefix: bool = False
    add_prefix: str = ""
    public_paths: tuple[str, ...] = ()
    websocket_origins: tuple[str, ...] = ()
    cors_preflights: bool = False
    preserve_host: bool = True
    upstream_ca: str | None = None
    provider: str | None = None
    owner: str = ""
    title: str = ""
    identity_headers: bool = True
    body_bytes: ByteSize | None = None
    client_certificate: ClientCertificates = ClientCertificates.OPTIONAL
    banner: BannerMode | None = None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Return the addresses, one or several."""
        return (self.upstream,) if isinstance(self.upstream, str) else self.upstream


class StandardWebhooks(Strict, tag="standard-webhooks", tag_field="scheme", frozen=True):
    """Standard Webhooks 1.0: HMAC-SHA256 over id, timestamp and body.

    Field: secrets: one or two `whsec_…` secrets, or `whpk_…` public keys of senders that sign with Ed25519
        (`v1a`); two while rotating.
    Field: tolerance: how far the sender's clock may be off.
    """

    secrets: tuple[Secret, ...]
    tolerance: Duration = 300.0


class Bearer(Strict, tag="bearer", tag_field="scheme", frozen=True):
    """A secret in a header.

    Field: secrets: one or two secrets; two while rotating.
    Field: header: name of the header; `Authorization` expects `Bearer SECRET`, any other the bare secret.
    """

    secrets: tuple[Secret, ...]
    header: str = "Authorization"


class Basic(Strict, tag="basic", tag_field="scheme", frozen=True):
    """A name and a password in `Authorization: Basic`, for senders that know nothing better.

    Field: secrets: one or two passwords; two while rotating.
    Field: username: the name that goes with them.
    """

    secrets: tuple[Secret, ...]
    username: str


class Hmac(Strict, tag="hmac", tag_field="scheme", frozen=True):
    """A signature over the raw body in a header, as most vendors make it. Presets: `docs/sensors.md`.

    Field: secrets: one or two secrets, used as the bytes of their text; two while rotating.
    Field: signature_header: name of the header that holds the signature.
    Field: algorithm: hash of the HMAC.
    Field: encoding: how the signature is written; upper and lower case hex are the same.
    Field: prefix: what stands before the signature, such as `sha256=`.
    Field: message: what is signed, of `{body}`, `{timestamp}`, `{id}` and what stands between them.
    Field: timestamp_header: header with the time of sending; needed with `{timestamp}`, and only then.
    Field: timestamp_format: how that time is written: unix seconds or RFC 3339.
    Field: tolerance: how far the sender's clock may be off.
    Field: id_header: header that names the delivery; needed with `{id}`.
    """

    secrets: tuple[Secret, ...]
    signature_header: str
    algorithm: Literal["sha256"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    message: str = "{body}"
    timestamp_header: str = ""
    timestamp_format: Literal["epoch", "rfc3339"] = "epoch"
    tolerance: Duration = 300.0
    id_header: str = ""


SensorAuth = StandardWebhooks | Bearer | Basic | Hmac | ClientCertificate | CloudflareAccess


class Sensor(Strict, frozen=True):
    """A source of signals.

    Field: name: its webhook is `/.gate/hooks/<name>`.
    Field: kind: which plugin reads its payloads (`generic`, `wazuh`, `defender`, ..., or an installed one).
    Field: auth: how its deliveries prove who sent them.
    Field: max_silence: after this long without a word about a device, what the sensor said no longer speaks
        for it.
    Field: options: settings of the kind; checked by the plugin's own type.
    Field: unknown_level: what a statement of unknown severity counts as.
    Field: trust: the sensor with the higher number wins when two state one fact.
    Field: body_bytes: most bytes of one delivery (413 above).
    Field: rate: most deliveries per second (429 or 503 above, as its sender needs it), with a burst of ten seconds'
        worth.
    Field: gzip: whether bodies may be compressed (`Content-Encoding: gzip`); `body_bytes` bounds the inflated body.
    Field: pull: how its product is asked, beside its deliveries.
    Field: max_level: none of its findings counts more than this.
    Field: subjects: whom it may speak about; what goes beyond that becomes a dead letter.
    """

    name: Name
    kind: Name
    auth: SensorAuth
    max_silence: Duration | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    unknown_level: Severity = Severity.MEDIUM
    trust: int = 0
    body_bytes: ByteSize = 1048576
    rate: float = 200.0
    gzip: bool = False
    pull: Pull | None = None
    max_level: Literal["none", "low", "medium", "high"] = "high"
    subjects: Subjects | None = None


class DeviceClaim(Strict, tag="claim", tag_field="from", frozen=True):
    """The device as the provider told it at sign-in, in an ID-token claim.

    Field: claim: path of the claim, dots between members.
    Field: kind: which identifier the value is (`serial`, `entra-device-id`, `hostname`, ...).
    """

    claim: str
    kind: str = "serial"


class DeviceCertificate(Strict, tag="certificate", tag_field="from", frozen=True):
    """The device by its TLS client certificate: at our listener, or in `Client-Cert` from a trusted proxy.

    Field: field: where the id stands: `subject.CN`, `subject.serialNumber`, `san.uri`, `san.dns`,
        `san.email`.
    Field: match: regular expression with one capture that must match the whole value.
    Field: kind: which identifier the captured text is.
    Field: header: also accept RFC 9440 `Client-Cert` from `server.trusted_proxies`; the leaf is verified
        again.
    Field: ca: PEM bundle of the device CA; default: `server.tls.client_ca`. Needed where a proxy ends TLS.
    """

    field: str = "subject.CN"
    match: str = "(.+)"
    kind: str = "serial"
    header: bool = False
    ca: str | None = None


DeviceSource = DeviceClaim | DeviceCertificate


class Compliance(Strict, frozen=True):
    """What makes a device compliant.

    Field: policies: a device is held to all of them; the worst state wins.
    Field: uncovered: the state of a known device that no policy covers.
    Field: exemptions: rules that do not count on some devices for a while.
    Field: exemption_ceiling: highest risk level at which exemptions count.
    """

    policies: tuple[CompliancePolicy, ...] = ()
    uncovered: ComplianceState = ComplianceState.NONCOMPLIANT
    exemptions: tuple[Exemption, ...] = ()
    exemption_ceiling: RiskLevel = RiskLevel.LOW


class Access(Strict, frozen=True):
    """Who may use what, when. Without a matching policy the answer is block.

    Field: policies: the strictest of all that match decides; their order never matters.
    """

    policies: tuple[AccessPolicy, ...] = ()


class Sessions(Strict, frozen=True):
    """Lifetimes of sessions.

    Field: idle: a session unused for this long ends.
    Field: absolute: a session ends this long after sign-in whatever happens.
    Field: per_user: most live sessions of one user; the oldest ends first.
    """

    idle: Duration = 3600.0
    absolute: Duration = 43200.0
    per_user: int = 50


class Decisions(Strict, frozen=True):
    """How long decision records are kept.

    Field: keep: records older than this are removed.
    Field: most: most records that are kept.
    """

    keep: Duration = 2592000.0
    most: int = 100000


class Canary(Strict, frozen=True):
    """A built-in sensor, device, session and app through which the gateway measures its own exposure window.

    Field: every: time from one round to the next.
    Field: timeout: how long one step of a round may take; after it the round has failed.
    Field: address: `host:port` or `unix:/path` where the canary enters; default: the listener.
    """

    every: Duration = 300.0
    timeout: Duration = 5.0
    address: str | None = None


class Config(Strict, frozen=True):
    """The configuration of one gateway.

    Field: version: version of this format.
    Field: include: further files, as patterns below this folder (`policies/*.yaml`), whose apps, devices, networks,
        sensors, tests, assertions, policies and exemptions are added to those here.
    Field: server: where the gateway listens and how it runs.
    Field: store: where state lives.
    Field: providers: OpenID providers that people sign in at; the first is the default.
    Field: apps: the apps behind the gateway.
    Field: sensors: sources of signals about devices.
    Field: devices: how a request tells its device; sources that name different devices leave it unknown.
    Field: networks: named locations for access policies.
    Field: country_database: file in MaxMind's format (`.mmdb`) that tells the country of an address, for `countries` of
        networks; read on every load.
    Field: without_country_database: what a worker does that starts while that file cannot be read, until it can be:
        `refuse` (503 for every app) or `unknown` (takes every country for `unknown`).
    Field: risk: how findings become a risk level.
    Field: compliance: what makes a device compliant.
    Field: access: who may use what, when.
    Field: session_profiles: named ways to limit a session, see `docs/restricted-sessions.md`.
    Field: tests: tests of the policies, run on every load; a configuration whose tests fail is not used.
    Field: never: what must never be let in, proven on every load; see `docs/proving.md`.
    Field: sessions: lifetimes of sessions.
    Field: decisions: how long decision records are kept.
    Field: deliveries: what is kept of what sensors sent.
    Field: shared_signals: OpenID Shared Signals: whom the gateway hears, and who hears it.
    Field: authzen: the AuthZEN Authorization API, for others that ask; absent means none.
    Field: canary: the gateway's watch over itself; absent means none.
    Field: remediation: what brings people back to work: tasks, kept forms, exceptions for a while.
    Field: pages: texts and looks of the pages that people see.
    Field: public_url: the login host; `<public_url>/.gate/callback` is the one redirect URI to register.
    """

    public_url: str
    providers: tuple[Provider, ...]
    apps: tuple[App, ...]
    version: Literal[1] = 1
    include: tuple[str, ...] = ()
    server: Server = Server()
    store: Store = Store()
    sensors: tuple[Sensor, ...] = ()
    devices: tuple[DeviceSource, ...] = ()
    networks: tuple[Network, ...] = ()
    country_database: str | None = None
    without_country_database: WithoutCountries = WithoutCountries.REFUSE
    risk: Risk = Risk()
    compliance: Compliance = Compliance()
    access: Access = Access()
    session_profiles: tuple[SessionProfile, ...] = ()
    tests: tuple[PolicyTest, ...] = ()
    never: tuple[Never, ...] = ()
    sessions: Sessions = Sessions()
    decisions: Decisions = Decisions()
    deliveries: Deliveries = Deliveries()
    shared_signals: SharedSignals = SharedSignals()
    authzen: AuthZen | None = None
    canary: Canary | None = None
    remediation: Remediation = Remediation()
    pages: PageSettings = PageSettings()
