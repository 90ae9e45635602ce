"""Whatever a transmitter writes into a token it has signed: a defined outcome, and sound statements only."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.shared_signals import SignalReceiver
from gateway.shared_signals.applying import make_plan
from gateway.shared_signals.events import URIS
from gateway.shared_signals.sets import SecurityEventToken
from gateway.shared_signals.subjects import (
    FORMATS,
    Member,
    Subject,
    SubjectFault,
    is_match,
    parse_subject,
    simple_json,
    subject_json,
    subject_keys,
)
from risk.folding import fold
from risk.model import DeviceId, Posture

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RECEIVER = SignalReceiver(name="idp", issuer="https://t.example")

texts = st.text(max_size=20) | st.sampled_from(
    ["HIGH", "LOW", "DEVICE", "USER", "revoke", "compliant", "enabled"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    [
        "format", "subject_type", "iss", "sub", "id", "email", "uri", "url", "identifiers", "user", "device",
        "session", "group", "phone_number", "jti", "issuer", "assertion_id", "ip-addresses",
    ]
)  # fmt: skip
formats = st.sampled_from([*FORMATS, "complex", "aliases", "ip-addresses", "new"])
simple = st.one_of(
    *(
        st.fixed_dictionaries({"format": st.just(name), **dict.fromkeys(wanted, texts)})
        for name, wanted in FORMATS.items()
    )
)
subjects = (
    simple
    | st.fixed_dictionaries({"format": st.just("aliases"), "identifiers": st.lists(simple, max_size=4)})
    | st.dictionaries(st.sampled_from([each.value for each in Member]), simple, max_size=4)
    | st.dictionaries(members, junk | simple | formats, max_size=5)
    | junk
)
payloads = st.dictionaries(
    st.sampled_from(
        [
            "event_timestamp", "current_status", "previous_status", "current_level", "principal", "claims",
            "credential_type", "change_type", "namespace", "change_direction", "reason_user", "subject", "state",
            "status", "risk_reason",
        ]
    ),
    junk,
    max_size=6,
)  # fmt: skip
events = st.dictionaries(
    st.sampled_from([*URIS.values(), "https://vendor.example/x"]), payloads, min_size=1, max_size=4
)


@settings(max_examples=400, deadline=None)
@given(events, subjects, st.integers(0, 400))
def test_every_signed_token_has_a_plan(said: dict[str, Any], subject: Any, age_days: int) -> None:
    """C1: no exception; each event ends as something; a signal is never about the future and always about somebody."""
    issued_at = NOW - timedelta(days=age_days)
    token = SecurityEventToken(
        issuer=RECEIVER.issuer,
        jti="j",
        issued_at=issued_at,
        events=said,
        claims={"sub_id": subject},
        happened_at=None,
    )
    plan = make_plan(RECEIVER, token, NOW, frozenset({"device"}))
    known = [uri for uri in said if uri in URIS.values()]
    assert len(plan.events) == len(known)
    outcomes = [*plan.ends, *plan.signals, *plan.rejections, *plan.stream, *plan.notes]
    assert len(outcomes) >= len(said)
    for signal in plan.signals:
        assert signal.observed_at <= issued_at
        assert bool(signal.device_ids) is not bool(signal.user_ids)
        fold(Posture(device_id=DeviceId("dev")), signal)
    for end, at in plan.ends:
        assert at <= issued_at
        assert end.subject.members or end.subject.unread


@settings(max_examples=300, deadline=None)
@given(subjects)
def test_a_subject_is_read_or_refused(said: Any) -> None:
    """Nothing but `SubjectFault`; and what was read can be written and read again."""
    try:
        read = parse_subject(said)
    except SubjectFault:
        return
    firsts = {member: found[0] for member, found in read.members.items() if found}
    if firsts and all(each.format in FORMATS for each in firsts.values()):
        again = parse_subject(subject_json(firsts))
        assert {member: found[0] for member, found in again.members.items()} == firsts


wanted = st.dictionaries(
    st.sampled_from([Member.USER, Member.DEVICE, Member.SESSION]),
    st.sampled_from(["a", "b"]).map(
        lambda text: parse_subject({"format": "opaque", "id": text}).of(Member.ANY)
    ),
    max_size=3,
)


@given(wanted, wanted)
def test_matching_is_mutual(one: dict[Member, Any], other: dict[Member, Any]) -> None:
    """I3: equal or absent, on either side; two subjects with nothing in common say nothing of each other."""
    first, second = (subject_keys(Subject(members=each)) for each in (one, other))
    shared = one.keys() & other.keys()
    expected = bool(shared) and all(one[member] == other[member] for member in shared)
    assert is_match(first, second) is is_match(second, first) is expected
    if one:
        assert is_match(first, first)
        (some, *_) = one.values()
        assert parse_subject(simple_json(some[0])).of(Member.ANY) == some
