"""Checks of Shared Signals: whom we hear, and who hears us."""

from urllib.parse import urlsplit

from gateway.config.checks.forms import is_loopback, parse_url
from gateway.config.checks.providers import SIGNATURES
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import App, Sensor
from gateway.config.shared_signals import SignalClient, SignalReceiver, SignalSubscriber, SignalTransmitter
from gateway.shared_signals.events import REQUESTABLE
from gateway.shared_signals.subjects import SubjectFault, parse_subject
from risk.values import Secret

MAX_SECRETS = 2
MIN_SECRET_BYTES = 16
TRANSMITTED = ("device-compliance-change", "risk-level-change", "session-revoked")


def check_receiver(checks: Checks, path: KeyPath, receiver: SignalReceiver) -> None:
    """Check that a receiver could hear its transmitter, and nobody else."""
    _url(checks, (*path, "issuer"), receiver.issuer)
    checks.positive(path, receiver, "verify_every", "max_silence", "body_bytes", "rate")
    for name in ("jwks_uri", "poll_url"):
        url = getattr(receiver, name)
        if url is not None:
            _url(checks, (*path, name), url)
    _words(checks, (*path, "events"), receiver.events, [each.value for each in REQUESTABLE], "event")
    _words(checks, (*path, "algorithms"), receiver.algorithms, SIGNATURES, "signature algorithm")
    if not receiver.algorithms:
        checks.fault(Code.FORM, (*path, "algorithms"), "no algorithm is accepted: nothing could be believed")
    checks.references((*path, "providers"), receiver.providers, "providers", "provider")
    checks.bundle((*path, "ca"), receiver.ca)
    _delivery(checks, path, receiver)
    for at, subject in enumerate(receiver.subjects):
        try:
            parse_subject(subject)
        except SubjectFault as fault:
            checks.fault(Code.FORM, (*path, "subjects", at), str(fault), "as RFC 9493 writes it")
    names = {sensor.name for _, sensor in checks.all(Sensor)}
    if receiver.name in names:
        message = f"{shown(receiver.name)} is the name of a sensor too: their signals could not be told apart"
        checks.fault(Code.DUPLICATE_NAME, (*path, "name"), message)


def check_client(checks: Checks, path: KeyPath, client: SignalClient) -> None:
    """Check where client credentials are sent."""
    _url(checks, (*path, "token_url"), client.token_url)


def check_transmitter(checks: Checks, path: KeyPath, transmitter: SignalTransmitter) -> None:
    """Check the bounds of the transmitter, and that its metadata can be reached."""
    checks.positive(path, transmitter, "min_verification_interval", "keep", "most", "rotate_every")
    public = checks.decoder.leaves.get(("public_url",))
    host = (urlsplit(public).hostname or "") if isinstance(public, str) else ""
    for where, app in checks.all(App):
        if app.host.rstrip(".").lower() == host and "/.well-known/ssf-configuration".startswith(
            app.path_prefix
        ):
            message = "this app has the login host, where receivers look for `/.well-known/ssf-configuration`"
            hint = "give the app a host of its own, or a `path_prefix`"
            checks.fault(Code.ADDRESS_CLASH, (*where, "host"), message, hint)


def check_subscriber(checks: Checks, path: KeyPath, subscriber: SignalSubscriber) -> None:
    """Check how a receiver proves itself, and where it may have its events sent."""
    _secrets(checks, (*path, "tokens"), subscriber.tokens, "token")
    _words(checks, (*path, "events"), subscriber.events, TRANSMITTED, "event")
    for at, prefix in enumerate(subscriber.endpoints):
        _url(checks, (*path, "endpoints", at), prefix)
    if not subscriber.device_kinds:
        checks.fault(
            Code.FORM, (*path, "device_kinds"), "no identifier kind is left: no device could be named"
        )
    if subscriber.peer is not None:
        known = [receiver.name for _, receiver in checks.all(SignalReceiver)]
        if subscriber.peer not in known:
            hint = did_you_mean(subscriber.peer, known) or "no receivers are configured"
            message = f"no receiver is named {shown(subscriber.peer)}"
            checks.fault(Code.UNKNOWN_NAME, (*path, "peer"), message, hint)
    checks.bundle((*path, "ca"), subscriber.ca)


def _delivery(checks: Checks, path: KeyPath, receiver: SignalReceiver) -> None:
    if receiver.delivery == "push" and not (receiver.unauthenticated_push and not receiver.secrets):
        _secrets(checks, (*path, "secrets"), receiver.secrets, "secret")
    elif receiver.secrets and receiver.delivery == "poll":
        message = "`secrets` have no effect: nothing is pushed where `delivery` is `poll`"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "secrets"), message)
    if receiver.unauthenticated_push and (receiver.secrets or receiver.delivery == "poll"):
        message = "`unauthenticated_push` has no effect: it is for pushes without `secrets`"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "unauthenticated_push"), message)
    if receiver.token is not None and receiver.client is not None:
        checks.fault(Code.FORM, (*path, "client"), "`token` and `client` are both given: one of them")
    if receiver.stream == "managed":
        _managed(checks, path, receiver)
    else:
        _static(checks, path, receiver)


def _managed(checks: Checks, path: KeyPath, receiver: SignalReceiver) -> None:
    if receiver.token is None and receiver.client is None:
        message = "a managed stream needs access to the transmitter's stream management"
        checks.fault(Code.MISSING_KEY, (*path, "token"), message, "`token`, `client`, or `stream: static`")
    for name in ("jwks_uri", "poll_url"):
        if getattr(receiver, name) is not None:
            message = f"`{name}` is for `stream: static`: a managed stream's transmitter has metadata"
            checks.fault(Code.FORM, (*path, name), message)


def _static(checks: Checks, path: KeyPath, receiver: SignalReceiver) -> None:
    if not receiver.audience:
        message = "a static stream needs `audience`: nothing else tells which tokens are for the gateway"
        checks.fault(Code.MISSING_KEY, (*path, "audience"), message, "the `aud` of the transmitter's tokens")
    if receiver.delivery == "poll" and receiver.poll_url is None:
        checks.fault(Code.MISSING_KEY, (*path, "poll_url"), "a static stream that is polled needs `poll_url`")
    if receiver.subjects:
        message = "`subjects` have no effect: a static stream is not managed"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "subjects"), message)


def _secrets(checks: Checks, path: KeyPath, secrets: tuple[Secret, ...], what: str) -> None:
    if not 1 <= len(secrets) <= MAX_SECRETS:
        checks.fault(Code.SECRET, path, f"{len(secrets)} {what}s are given", "one, or two while rotating")
    for at, secret in enumerate(secrets):
        text = secret.reveal()
        if len(text.encode()) < MIN_SECRET_BYTES:
            message = f"a {what} has at least {MIN_SECRET_BYTES} bytes"
            checks.fault(Code.SECRET, (*path, at), message, "make one with `openssl rand -hex 24`")
        elif not text.isascii() or not text.isprintable() or " " in text:
            checks.fault(Code.SECRET, (*path, at), f"a {what} is printable ASCII without spaces")


def _url(checks: Checks, path: KeyPath, text: str) -> None:
    url = parse_url(text)
    if url is None or url.scheme not in {"http", "https"} or url.fragment or url.username:
        checks.fault(Code.URL, path, f"{shown(text)} is no https URL")
    elif url.scheme == "http" and not is_loopback(url.hostname or ""):
        message = "over plain http anybody on the way reads and forges what is sent"
        checks.fault(Code.UNSAFE, path, message, "https, or a loopback host for a demo")


def _words(
    checks: Checks, path: KeyPath, words: tuple[str, ...], known: "tuple[str, ...] | list[str]", noun: str
) -> None:
    for at, word in enumerate(words):
        if word not in known:
            hint = did_you_mean(word, known) or ", ".join(known[:8])
            checks.fault(Code.UNKNOWN_WORD, (*path, at), f"{noun} {shown(word)} is not known", hint)
