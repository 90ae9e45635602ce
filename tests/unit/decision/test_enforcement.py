"""From decision to action: session controls, routing, networks, verdicts, tickets."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from compliance.model import (
    AccessContext,
    AccessPolicy,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Outcome,
    RequestFacts,
    SessionControl,
    User,
)
from compliance.residual import compile_residual, residual
from gateway.config.profiles import BannerMode, NoDownloads, SessionProfile
from gateway.config.schema import App
from gateway.controls.effective import Limit, Profiles
from gateway.controls.requests import refusing_limit
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import Situation
from gateway.decision.enforce import strictest
from gateway.decision.reauthentication import with_reauthentication
from gateway.decision.routing import NamedNetworks, RouteTable
from gateway.decision.ticket import Issued, Remembered, TicketMaker, header_text
from gateway.decision.verdict import Refused, SignIn, decode_verdict, encode_verdict
from gateway.feed.settings import WorkerApp
from gateway.feed.worker_side import Entry, TicketKey
from gateway.wire.reader import RequestReader
from gateway.wire.request import HeadLimits, RequestHead
from gateway.wire.target import readings
from gateway.worker import _headers as worker_headers
from risk.model import RiskAssessment, RiskLevel

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
READ_ONLY = frozenset({SessionControl.READ_ONLY})


def head(request: bytes) -> RequestHead:
    reader = RequestReader(HeadLimits(8192, 8192, 50))
    reader.feed(request.replace(b"\n", b"\r\n") + b"\r\n\r\n")
    found = reader.next_head()
    assert found is not None
    return found


FILE = b"Content-Type: application/zip\nContent-Length: 5"
UPGRADE = b"GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket"


@pytest.mark.parametrize(
    ("controls", "request_", "refused_by"),
    [
        (set(), b"DELETE / HTTP/1.1\nHost: a\n" + FILE, None),
        ({SessionControl.READ_ONLY}, b"GET / HTTP/1.1\nHost: a", None),
        ({SessionControl.READ_ONLY}, b"HEAD / HTTP/1.1\nHost: a", None),
        ({SessionControl.READ_ONLY}, b"OPTIONS / HTTP/1.1\nHost: a", None),
        ({SessionControl.READ_ONLY}, b"POST / HTTP/1.1\nHost: a\n" + FILE, Limit.READ_ONLY),
        ({SessionControl.READ_ONLY}, b"PROPPATCH / HTTP/1.1\nHost: a", Limit.READ_ONLY),
        ({SessionControl.READ_ONLY}, UPGRADE, Limit.READ_ONLY),
        ({SessionControl.NO_UPLOADS}, b"POST / HTTP/1.1\nHost: a\n" + FILE, Limit.NO_UPLOADS),
        ({SessionControl.NO_UPLOADS}, b"POST / HTTP/1.1\nHost: a\nContent-Length: 0", None),
        ({SessionControl.NO_UPLOADS}, UPGRADE, Limit.NO_UPLOADS),
        ({SessionControl.NO_WEBSOCKET}, UPGRADE, Limit.NO_WEBSOCKET),
        ({SessionControl.NO_DOWNLOADS}, b"GET / HTTP/1.1\nHost: a", None),
    ],
)
def test_session_controls_refuse(
    controls: set[SessionControl], request_: bytes, refused_by: Limit | None
) -> None:
    effective = Profiles().effective(frozenset(controls), frozenset())
    assert refusing_limit(effective, head(request_)) is refused_by


def worker_app(name: str, host: str, prefix: str = "/") -> WorkerApp:
    return WorkerApp(
        name=name,
        host=host,
        path_prefix=prefix,
        upstreams=("http://127.0.0.1:1",),
        upstream_ca=None,
        public_paths=(),
        preserve_host=True,
        body_bytes=1,
    )


def test_routes_by_host_then_longest_prefix() -> None:
    table = RouteTable(
        [
            worker_app("root", "a.example"),
            worker_app("admin", "a.example", "/admin"),
            worker_app("deep", "a.example", "/admin/deep/"),
            worker_app("any", "*.example"),
        ],
    )
    found = {
        ("a.example", "/"): "root",
        ("a.example", "/admin"): "admin",
        ("a.example", "/administrator"): "root",
        ("a.example", "/admin/deep/x"): "deep",
        ("b.example", "/admin"): "any",
    }
    for (host, path), name in found.items():
        assert table.find(host, path).name == name
    assert table.find("x.y.example", "/") is None
    assert table.find("example", "/") is None


def test_networks_know_mapped_addresses() -> None:
    networks = NamedNetworks({"office": ("10.0.0.0/8", "2001:db8::/32"), "home": ("10.1.0.0/16",)})
    assert networks.containing(ip_address("10.1.2.3")) == {"office", "home"}
    assert networks.containing(ip_address("::ffff:10.2.0.1")) == {"office"}
    assert networks.containing(ip_address("2001:db8::1")) == {"office"}
    assert networks.containing(None) == frozenset()
    assert networks.containing_text("nonsense") == frozenset()


def test_a_verdict_survives_the_header_whatever_it_says() -> None:
    verdict = Refused(
        app="wiki",
        decision="d",
        outcome=Outcome.BLOCK,
        policy="p",
        reason='é "quoted" \r\n \U0001f600 \x7f',
        method="GET",
        path="/%0d%0a",
        client=ClientKind.BROWSER,
        networks=("office",),
    )
    raw = encode_verdict(verdict)
    assert raw.isascii()
    assert all(0x20 <= byte < 0x7F for byte in raw)
    assert decode_verdict(raw.decode()) == verdict
    assert decode_verdict(encode_verdict(SignIn("x")).decode()) == SignIn("x")


def test_header_text_cannot_break_out_of_its_line() -> None:
    assert header_text("Ana\r\nX-Evil: 1\x00") == b"AnaX-Evil: 1"
    assert header_text("Zoë") == "Zoë".encode()
    assert len(header_text("x" * 5000)) == 1024


def a_situation() -> Situation:
    user = User(
        provider="corp",
        issuer="https://idp.example",
        subject="u1",
        email="ana@example.org",
        name="Ana",
        groups=frozenset({"staff", "a,b"}),
    )
    context = AccessContext(
        app="wiki",
        user=user,
        now=NOW,
        device_id="dev_1",
        device_name="ANA-MBP",
        device_source="claim",
        risk=RiskAssessment(level=RiskLevel.NONE, is_known=True),
        compliance=ComplianceResult(
            state=ComplianceState.COMPLIANT,
            results=(),
            changes_at=NOW + timedelta(seconds=30),
        ),
    )
    return Situation(context=context, posture=None, keys=("session:s1",))


def maker(signer: AssertionSigner) -> TicketMaker:
    ids = iter(range(100))
    return TicketMaker(
        signer,
        issuer="https://login.example",
        make_code=lambda: f"d{next(ids)}",
        make_id=lambda: f"j{next(ids)}",
    )


APP = App(name="wiki", host="wiki.example", upstream="http://127.0.0.1:1")


READING = SessionProfile(
    name="reading",
    no_downloads=NoDownloads(),
    hidden_paths=("/admin/**",),
    requests_per_minute=60,
    reauthenticate=900.0,
    banner=BannerMode.APP,
)


def make(*policies: AccessPolicy, ends: datetime = NOW + timedelta(hours=1)):
    signer = AssertionSigner(ec.generate_private_key(ec.SECP256R1()))
    ticket = maker(signer).make(
        APP,
        a_situation(),
        policies,
        session_id="ses_1",
        host="wiki.example",
        session_ends=ends,
        profiles=Profiles([READING]),
    )
    return signer, ticket


def issued(session: str, app: str = "wiki", device: str | None = "dev_1") -> Issued:
    facts = a_situation()
    context = msgspec.structs.replace(facts.context, app=app, device_id=device)
    return Issued(msgspec.structs.replace(facts, context=context), (), session)


def test_of_a_device_the_newest_ticket_of_each_app_and_session_is_at_hand() -> None:
    remembered = Remembered(100)
    first, second, other, labs = (
        issued("ses_1"),
        issued("ses_1"),
        issued("ses_2"),
        issued("ses_1", app="labs"),
    )
    for number, each in enumerate((first, second, other, labs, issued("ses_1", device=None))):
        remembered.add(f"d{number}", each)
    assert [(app, id(each)) for app, each in remembered.of_device("dev_1")] == [
        ("wiki", id(second)),
        ("wiki", id(other)),
        ("labs", id(labs)),
    ]
    assert (remembered.rests_on("dev_1"), remembered.rests_on("dev_2")) == (True, False)
    assert remembered.of_device("dev_2") == []


def test_what_is_forgotten_of_tickets_is_forgotten_of_their_devices() -> None:
    remembered = Remembered(2)
    remembered.add("d0", issued("ses_1"))
    remembered.add("d1", issued("ses_1"))
    remembered.add("d2", issued("ses_9", device="dev_9"))  # `d0` goes, `d1` stands
    assert (remembered.get("d0"), len(remembered.of_device("dev_1"))) == (None, 1)
    remembered.add("d3", issued("ses_9", device="dev_9"))
    assert not remembered.rests_on("dev_1")
    assert remembered.of_device("dev_1") == []
    assert len(remembered.of_device("dev_9")) == 1


def test_a_ticket_ends_at_the_nearest_moment_that_could_change_it() -> None:
    allow = AccessPolicy(name="all", decision=Outcome.ALLOW)
    _, ticket = make(allow)
    assert ticket.valid_until == (NOW + timedelta(seconds=30)).timestamp()
    _, ticket = make(allow, ends=NOW + timedelta(seconds=5))
    assert ticket.valid_until == (NOW + timedelta(seconds=5)).timestamp()


def test_tickets_that_are_left_with_the_same_policies_share_them() -> None:
    """However long each of them lives."""
    admin = AccessPolicy(name="admin", decision=Outcome.BLOCK, when=Conditions(paths=("/admin",)))
    (_, one), (_, another) = make(admin), make(admin, ends=NOW + timedelta(seconds=5))
    assert one.valid_until != another.valid_until
    assert one.residual is another.residual
    assert one.residual.valid_until is None


def test_the_assertion_verifies_by_the_published_keys_and_says_what_was_decided() -> None:
    signer, ticket = make(
        AccessPolicy(name="some", decision=Outcome.RESTRICT, controls=(SessionControl.READ_ONLY,)),
    )
    (variant,) = ticket.variants
    headers = dict(variant.headers)
    key = jwt.PyJWK(signer.jwks()["keys"][0])
    claims = jwt.decode(
        headers[b"X-Gate-Jwt"],
        key,
        algorithms=["ES256"],
        audience="wiki.example",
        issuer="https://login.example",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == "u1"
    assert claims["groups"] == ["a,b", "staff"]
    assert claims["gate"]["outcome"] == "restrict"
    assert claims["gate"]["restrictions"] == ["read-only"]
    assert headers[b"X-Gate-Restrictions"] == b"read-only"
    assert dict(ticket.headers)[b"X-Gate-Groups"] == b"a%2Cb,staff"


def test_restrictions_that_depend_on_the_request_have_an_assertion_each() -> None:
    allow = AccessPolicy(name="all", decision=Outcome.ALLOW)
    away = AccessPolicy(
        name="away",
        decision=Outcome.RESTRICT,
        controls=(SessionControl.NO_DOWNLOADS,),
        when=Conditions(not_networks=("office",)),
    )
    _, ticket = make(allow, away)
    assert {variant.controls for variant in ticket.variants} == {
        frozenset(),
        frozenset({SessionControl.NO_DOWNLOADS}),
    }


def claims_of(signer: AssertionSigner, headers: dict[bytes, bytes]) -> dict[str, object]:
    return jwt.decode(
        headers[b"X-Gate-Jwt"],
        jwt.PyJWK(signer.jwks()["keys"][0]),
        algorithms=["ES256"],
        audience="wiki.example",
        options={"verify_exp": False, "verify_iat": False},
    )["gate"]


def test_the_app_is_told_what_a_session_profile_means() -> None:
    """Not its name alone: every limit that it brings, in the header as in the signed assertion."""
    signer, ticket = make(AccessPolicy(name="some", decision=Outcome.RESTRICT, profiles=("reading",)))
    (variant,) = ticket.variants
    headers = dict(variant.headers)
    assert variant.profiles == {"reading"}
    assert headers[b"X-Gate-Outcome"] == b"restrict"
    assert headers[b"X-Gate-Restrictions"] == b"hidden-path,no-downloads,rate"
    told = claims_of(signer, headers)
    assert told["restrictions"] == ["hidden-path", "no-downloads", "rate"]
    assert told["profiles"] == ["reading"]
    assert told["banner"] == "app"


def test_every_admitted_request_has_an_assertion_that_names_at_least_its_limits() -> None:
    """With many limits that depend on the request there is no assertion for each mixture: then one tells of all."""
    away = [
        AccessPolicy(
            name=f"away{at}",
            decision=Outcome.RESTRICT,
            controls=(control,),
            profiles=("reading",) if at == 0 else (),
            when=Conditions(paths=(f"/{at}/**",)),
        )
        for at, control in enumerate(list(SessionControl)[:4])
    ]
    _, ticket = make(AccessPolicy(name="all", decision=Outcome.ALLOW), *away)
    entry = Entry(TicketKey("c", "h", "wiki", b""), ticket)
    for path in ("/", "/0/a", "/1/a", "/3/a"):
        decision = entry.decide(RequestFacts("GET", path, ClientKind.API, frozenset()))
        headers = dict(worker_headers(entry, decision))
        assert headers[b"X-Gate-Jwt"]
        told = set(headers.get(b"X-Gate-Restrictions", b"").decode().split(","))
        assert told >= set(decision.controls)
        assert headers[b"X-Gate-Outcome"] == (b"restrict" if decision.controls else b"allow")


@pytest.mark.parametrize(("age_s", "outcome"), [(899, Outcome.RESTRICT), (900, Outcome.STEP_UP)])
def test_a_profile_bounds_the_age_of_the_sign_in(age_s: int, outcome: Outcome) -> None:
    """A limited session has to sign in again in time; the ticket ends at the very moment when it has to."""
    policies = with_reauthentication(
        (
            AccessPolicy(name="all", decision=Outcome.ALLOW),
            AccessPolicy(name="some", decision=Outcome.RESTRICT, profiles=("reading",), reason="Lost laptop"),
        ),
        [READING],
    )
    context = a_situation().context
    user = msgspec.structs.replace(context.user, auth_at=NOW - timedelta(seconds=age_s))
    compliance = msgspec.structs.replace(context.compliance, changes_at=None)
    rest = residual(policies, msgspec.structs.replace(context, user=user, compliance=compliance))
    assert rest.constant is not None
    assert rest.constant.outcome is outcome
    assert rest.constant.reason == "Lost laptop"
    if outcome is Outcome.RESTRICT:
        assert rest.valid_until == NOW + timedelta(seconds=1)
    else:
        assert rest.constant.step_up is not None
        assert rest.constant.step_up.max_age == 900


def test_a_refusal_carries_no_assertion() -> None:
    _, ticket = make(AccessPolicy(name="no", decision=Outcome.BLOCK))
    assert ticket.variants == ()


def test_a_path_with_several_readings_gets_no_more_than_any_of_them() -> None:
    """`/office;v=1/a` reaches `/office/a` on servers that strip parameters: a block on `/office` must hold."""
    policies = (
        AccessPolicy(name="all", decision=Outcome.ALLOW),
        AccessPolicy(name="office", decision=Outcome.BLOCK, when=Conditions(paths=("/office",))),
        AccessPolicy(
            name="docs",
            decision=Outcome.RESTRICT,
            controls=(SessionControl.READ_ONLY,),
            when=Conditions(paths=("/docs/a",)),
        ),
    )
    decide = compile_residual(residual(policies, a_situation().context))

    def outcome(path: str) -> tuple[Outcome, frozenset[SessionControl]]:
        found = strictest(
            decide(RequestFacts("GET", each, ClientKind.API, frozenset())) for each in readings(path)
        )
        return found.outcome, found.controls

    for path in ("/office/a", "/office;v=1/a", "/office%2Fa", "/office%252Fa", "/x%2F..%2Foffice"):
        assert outcome(path)[0] is Outcome.BLOCK, path
    assert outcome("/other;v=1/a") == (Outcome.ALLOW, frozenset())
    assert outcome("/docs%2Fa") == (Outcome.RESTRICT, READ_ONLY)


def test_an_address_that_nobody_vouches_for_is_no_identity() -> None:
    _, ticket = make(AccessPolicy(name="all", decision=Outcome.ALLOW))
    assert dict(ticket.headers)[b"X-Gate-Email"] == b""
