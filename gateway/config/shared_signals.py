"""The section `shared_signals`: transmitters that the gateway hears, and receivers that hear the gateway."""

from typing import Annotated, Any, Literal

import msgspec

from risk.model import Severity
from risk.values import ByteSize, Duration, Secret, Strict

PartyName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""A name of a counterparty: lower-case letters, digits, dot, dash, underscore."""

DEVICE_KINDS: tuple[str, ...] = (
    "serial",
    "entra-device-id",
    "intune-device-id",
    "mde-machine-id",
    "udid",
    "certificate-sha256",
    "device-id",
)
"""Identifier kinds by which the transmitter names a device; the first that the device has is used."""


class SignalClient(Strict, frozen=True):
    """OAuth client credentials for a transmitter's stream management (RFC 6749 section 4.4).

    Field: token_url: the token endpoint of the transmitter's authorization server.
    Field: client_id: the id that the transmitter gave the gateway.
    Field: client_secret: the secret that goes with it.
    Field: scopes: scopes to ask for.
    """

    token_url: str
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...] = ("ssf.manage", "ssf.read")


class SignalReceiver(Strict, frozen=True):
    """A transmitter of Shared Signals that the gateway receives from.

    Field: name: its push address is `/.gate/ssf/<name>`; its signals about devices carry this name as their sensor.
    Field: issuer: exactly the transmitter's `issuer`; its metadata is looked up below `/.well-known/ssf-configuration`.
    Field: delivery: `push` (RFC 8935: the transmitter sends) or `poll` (RFC 8936: the gateway asks).
    Field: secrets: one or two secrets that the transmitter sends with each push as `Authorization: Bearer SECRET`;
        two while rotating. A managed stream is told the first.
    Field: unauthenticated_push: whether a push without `secrets` is taken, for transmitters that send none (Google):
        the signature alone tells then who sent it, and whoever floods the address keeps the transmitter waiting.
    Field: stream: `managed` creates the stream at the transmitter and keeps it as configured; `static` takes what an
        administrator arranged there.
    Field: token: bearer token for the transmitter's stream management and polling.
    Field: client: OAuth client credentials in place of `token`.
    Field: audience: values of which a token's `aud` must hold one; default: what the managed stream says. The first is
        told to a transmitter that makes no stream without.
    Field: events: short names of the events to ask for; default: all that have an effect here.
    Field: subjects: subjects to add to the managed stream, each as RFC 9493 writes it; needed only where the
        transmitter's streams begin empty.
    Field: jwks_uri: the transmitter's key set, for a transmitter without metadata.
    Field: poll_url: where a static stream is polled.
    Field: algorithms: signature algorithms that are accepted; never taken from the token.
    Field: providers: names of the providers whose users this transmitter may speak about; default: all.
    Field: device_kind: which identifier the transmitter names devices by (in `opaque`, `iss_sub`, `uri`).
    Field: verify_every: how often the stream is tested with a verification event (not below what it allows).
    Field: max_silence: after this long without a word about a device, what it said no longer speaks for it.
    Field: unknown_level: what a risk level that is not in the standard counts as.
    Field: trust: the source with the higher number wins when two state one fact.
    Field: body_bytes: most bytes of one pushed token or polled answer per token.
    Field: rate: most pushed tokens per second (429 above), with a burst of ten seconds' worth.
    Field: ca: PEM bundle that signs the transmitter's certificate; default: the system store.
    """

    name: PartyName
    issuer: str
    delivery: Literal["push", "poll"] = "push"
    secrets: tuple[Secret, ...] = ()
    unauthenticated_push: bool = False
    stream: Literal["managed", "static"] = "managed"
    token: Secret | None = None
    client: SignalClient | None = None
    audience: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    subjects: tuple[dict[str, Any], ...] = ()
    jwks_uri: str | None = None
    poll_url: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")
    providers: tuple[str, ...] = ()
    device_kind: str = "serial"
    verify_every: Duration = 3600.0
    max_silence: Duration | None = None
    unknown_level: Severity = Severity.HIGH
    trust: int = 0
    body_bytes: ByteSize = 65536
    rate: float = 100.0
    ca: str | None = None


class SignalSubscriber(Strict, frozen=True):
    """Somebody who may subscribe to what the gateway transmits.

    Field: name: how logs and the command line call this receiver.
    Field: tokens: one or two bearer tokens of the stream management and of polling; two while rotating. They are also
        the client secrets of the token endpoint, whose client id is `name`.
    Field: audience: the `aud` of what it is sent; default: its name.
    Field: access: `manage`, or `read` for one that may only look at its stream and poll it.
    Field: events: short names of the events that it may have; default: all.
    Field: endpoints: URL prefixes to which its events may be pushed; without them any https address on the public
        internet.
    Field: device_kinds: identifier kinds by which it is told devices; the first that a device has is used.
    Field: simple_subjects: whether devices and users are told as one simple subject, not as a complex one.
    Field: peer: the `receivers` entry that is the same party: what that one told us is never told back to it.
    Field: ca: PEM bundle that signs the certificate of its push address; default: the system store.
    """

    name: PartyName
    tokens: tuple[Secret, ...]
    audience: str = ""
    access: Literal["manage", "read"] = "manage"
    events: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    device_kinds: tuple[str, ...] = DEVICE_KINDS
    simple_subjects: bool = False
    peer: str | None = None
    ca: str | None = None


class SignalTransmitter(Strict, frozen=True):
    """The gateway as a transmitter: `device-compliance-change`, `risk-level-change` and `session-revoked`.

    Its issuer is `public_url`.

    Field: receivers: who may subscribe.
    Field: subjects: whether a new stream is about everybody (`all`) or only about subjects that were added (`none`).
    Field: min_verification_interval: least time between two verification events that a receiver asks for (429 below).
    Field: keep: how long an event waits for a receiver that does not take it.
    Field: most: most events that wait in one stream; above it the oldest is dropped.
    Field: rotate_every: how often a new signing key is made; it signs only an hour after it was published.
    """

    receivers: tuple[SignalSubscriber, ...]
    subjects: Literal["all", "none"] = "all"
    min_verification_interval: Duration = 60.0
    keep: Duration = 604800.0
    most: int = 100000
    rotate_every: Duration = 7776000.0


class SharedSignals(Strict, frozen=True):
    """OpenID Shared Signals: SSF 1.0 with CAEP and RISC events; see `docs/shared-signals.md`.

    Field: receivers: transmitters that the gateway receives from.
    Field: transmitter: the gateway as a transmitter; absent means none.
    """

    receivers: tuple[SignalReceiver, ...] = ()
    transmitter: SignalTransmitter | None = None
