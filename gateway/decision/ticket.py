"""Makes tickets: everything about (session, app, device evidence) that a worker needs to decide requests alone."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from typing import Any

import msgspec
from cachetools import LRUCache

from compliance.evaluate import depends_on_request
from compliance.model import AccessPolicy, Outcome, Residual, ResidualEntry, SessionControl, User
from compliance.residual import residual
from gateway.config.schema import App
from gateway.controls.effective import Profiles
from gateway.decision.assertion import LIFETIME, RENEW_BEFORE, AssertionSigner
from gateway.decision.context import Situation
from gateway.decision.persons import SID_CHARACTERS
from gateway.feed.protocol import Ticket, Variant

MAX_CONDITIONAL_RESTRICTIONS = 3
"""Up to this many restrictions that depend on the request, each combination gets an assertion of its own.

With more, a request that meets some of them is told of all: an app never learns of less than is in force."""
MAX_REMEMBERED = 8192
"""Situations kept so that a refusal is recorded with the very inputs it was decided on."""
SERVICE_SUBJECT = "service:"
"""How the subject of a service identity begins in what apps are told."""

MAX_RESIDUALS = 1_000
"""Most residuals that are shared by tickets."""


@lru_cache(maxsize=MAX_RESIDUALS)
def _once(rest: Residual) -> Residual:
    """Return the residual, the same one for all tickets that have an equal one: most have one of a few."""
    return rest


Limits = tuple[frozenset[SessionControl], frozenset[str]]
"""Plain session controls, and names of session profiles."""


class Issued(msgspec.Struct, frozen=True):
    """What a ticket was made from, for the record."""

    situation: Situation
    policies: tuple[AccessPolicy, ...]
    session_id: str


class Remembered(LRUCache[str, Issued]):
    """What the newest tickets were made from, by decision id; of each device, for every app and session the newest."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._by_device: dict[str, dict[tuple[str, str], tuple[str, Issued]]] = {}

    def add(self, code: str, issued: Issued) -> None:
        """Remember a ticket in place of the oldest."""
        self[code] = issued
        context = issued.situation.context
        if context.device_id is not None:
            of_device = self._by_device.setdefault(context.device_id, {})
            of_device[context.app, issued.session_id] = (code, issued)

    def popitem(self) -> tuple[str, Issued]:
        """Forget the ticket that was used least lately."""
        code, issued = super().popitem()
        context = issued.situation.context
        of_device = self._by_device.get(context.device_id or "", {})
        key = (context.app, issued.session_id)
        # A newer ticket may have taken its place.
        if key in of_device and of_device[key][0] == code:
            del of_device[key]
            if not of_device:
                del self._by_device[context.device_id or ""]
        return code, issued

    def rests_on(self, device_id: str) -> bool:
        """Return whether a remembered ticket rests on this device."""
        return device_id in self._by_device

    def of_device(self, device_id: str) -> list[tuple[str, Issued]]:
        """Return the newest tickets that rest on a device, one for each app and session, with the app."""
        found = self._by_device.get(device_id, {})
        return [(app, issued) for (app, _), (_, issued) in found.items()]


class TicketMaker:
    """Makes tickets and remembers what they were made from. Does no I/O."""

    def __init__(
        self,
        signer: AssertionSigner,
        *,
        issuer: str,
        make_code: Callable[[], str],
        make_id: Callable[[], str],
    ) -> None:
        self._signer = signer
        self._issuer = issuer
        self._make_code = make_code
        self._make_id = make_id
        self.issued = Remembered(MAX_REMEMBERED)

    def make(
        self,
        app: App,
        situation: Situation,
        policies: tuple[AccessPolicy, ...],
        *,
        session_id: str,
        host: str,
        session_ends: datetime,
        profiles: Profiles | None = None,
    ) -> Ticket:
        """Return the ticket of this situation. `host` becomes the audience of the assertion.

        `profiles` says what the session profiles that policies name mean.
        """
        now = situation.context.now
        rest = residual(policies, situation.context)
        code = self._make_code()
        self.issued.add(code, Issued(situation, policies, session_id))
        ends = min(now + LIFETIME - RENEW_BEFORE, session_ends)
        if rest.valid_until is not None:
            ends = min(ends, rest.valid_until)
        admitted = admissible(rest)
        # Nobody is told anything of a session that no request gets past: nothing is made ready for it.
        claims = self._claims(app, situation, session_id, host, code) if admitted else {}
        meaning = profiles or Profiles()
        return Ticket(
            keys=situation.keys,
            session=session_id,
            decision=code,
            residual=_once(msgspec.structs.replace(rest, valid_until=None)),
            headers=_identity_headers(app, situation, code) if admitted else (),
            variants=tuple(self._variant(each, meaning, app, claims, now) for each in admitted),
            valid_until=max(ends, now + timedelta(milliseconds=50)).timestamp(),
        )

    def _claims(
        self, app: App, situation: Situation, session_id: str, host: str, code: str
    ) -> dict[str, Any]:
        user, context = situation.context.user, situation.context
        return {
            "iss": self._issuer,
            "aud": host,
            "sub": told_subject(user),
            "email": user.email,
            "email_verified": user.email in user.names,
            "name": user.name,
            "groups": sorted(user.groups),
            "sid": session_id[:SID_CHARACTERS],
            "jti": self._make_id(),
            "gate": {
                "app": app.name,
                **({"service": user.subject} if user.is_service else {}),
                "provider": user.provider,
                "decision_id": code,
                "device_id": context.device_id,
                "device": context.device_name,
                "risk": context.risk.level.value,
                "compliance": context.compliance.state.value,
            },
        }

    def _variant(
        self, limits: Limits, meaning: Profiles, app: App, claims: Mapping[str, Any], now: datetime
    ) -> Variant:
        controls, profiles = limits
        outcome = Outcome.RESTRICT if controls or profiles else Outcome.ALLOW
        effective = meaning.effective(controls, profiles, app.banner)
        gate = {**claims["gate"], "outcome": outcome.value, "restrictions": list(effective.names)}
        if effective.profiles:
            gate["profiles"] = list(effective.profiles)
        if outcome is Outcome.RESTRICT:
            gate["banner"] = effective.banner.value
        token = self._signer.sign({**claims, "gate": gate}, now)
        headers = [(b"X-Gate-Jwt", token.encode()), (b"X-Gate-Outcome", outcome.value.encode())]
        if effective.names:
            headers.append((b"X-Gate-Restrictions", ",".join(effective.names).encode()))
        return Variant(controls=controls, profiles=profiles, headers=tuple(headers))


def admissible(rest: Residual) -> list[Limits]:
    """Return all limits with which some request can be admitted, none at all included."""
    if rest.constant is not None:
        is_in = rest.constant.outcome in (Outcome.ALLOW, Outcome.RESTRICT)
        return [(rest.constant.controls, rest.constant.profiles)] if is_in else []
    if any(_refuses_all(entry) for entry in rest.entries):
        return []
    restricting = [
        entry for entry in rest.entries if entry.outcome is Outcome.RESTRICT and _is_enforced(entry)
    ]
    if len(restricting) > MAX_CONDITIONAL_RESTRICTIONS:
        return [_together(()), _together(restricting)]
    found = {
        _together(chosen)
        for size in range(len(restricting) + 1)
        for chosen in combinations(restricting, size)
    }
    return sorted(found, key=lambda limits: (sum(map(len, limits)), *map(sorted, limits)))


def _together(entries: Iterable[ResidualEntry]) -> Limits:
    chosen = list(entries)
    controls = frozenset[SessionControl]().union(*(entry.controls for entry in chosen))
    return controls, frozenset[str]().union(*(entry.profiles for entry in chosen))


def _refuses_all(entry: ResidualEntry) -> bool:
    """Return whether no request of this session gets past the entry."""
    is_strict = entry.outcome not in (Outcome.ALLOW, Outcome.RESTRICT)
    return is_strict and _is_enforced(entry) and not depends_on_request(entry.when)


def _is_enforced(entry: ResidualEntry) -> bool:
    return entry.mode == "enforce"


def _identity_headers(app: App, situation: Situation, code: str) -> tuple[tuple[bytes, bytes], ...]:
    user = situation.context.user
    headers = [(b"X-Gate-Decision-Id", code.encode())]
    if app.identity_headers:
        groups = ",".join(group.replace("%", "%25").replace(",", "%2C") for group in sorted(user.groups))
        headers += [
            (b"X-Gate-User", header_text(told_subject(user))),
            # An address that the provider does not vouch for is no identity: only the assertion has it, marked.
            (b"X-Gate-Email", header_text(user.email if user.email in user.names else "")),
            (b"X-Gate-Name", header_text(user.name)),
            (b"X-Gate-Groups", header_text(groups)),
        ]
    return tuple(headers)


def told_subject(user: User) -> str:
    """Return the subject as apps are told it: a service identity is never taken for the person of that subject."""
    return f"{SERVICE_SUBJECT}{user.subject}" if user.is_service else user.subject


def header_text(text: str) -> bytes:
    r"""Return `text` as a header value: UTF-8, control characters removed, at most 1,024 bytes.

    >>> header_text("Ana\r\nX-Evil: 1")
    b'AnaX-Evil: 1'
    """
    clean = "".join(character for character in text if character.isprintable())
    return clean.encode()[:1024].strip()


def utc_now() -> datetime:
    """Return the present instant; the composition root passes this where a clock is asked for."""
    return datetime.now(UTC)
