"""From decision to action: session controls, routing, networks, verdicts, tickets."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import jwt
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
from gateway.config.schema import App
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import Situation
from gateway.decision.enforce import RequestTraits, refusing_control, strictest
from gateway.decision.routing import NamedNetworks, RouteTable
from gateway.decision.ticket import TicketMaker, header_text
from gateway.decision.verdict import Refused, SignIn, decode_verdict, encode_verdict
from gateway.feed.settings import WorkerApp
from gateway.wire.target import readings
from risk.model import RiskAssessment, RiskLevel

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
READ_ONLY = frozenset({SessionControl.READ_ONLY})


def traits(method: str = "GET", *, body: bool = False, upgrade: bool = False) -> RequestTraits:
    return RequestTraits(method, ClientKind.API, body, upgrade)


@pytest.mark.parametrize(
    ("controls", "request_traits", "refused_by"),
    [
        (set(), traits("DELETE", body=True), None),
        ({SessionControl.READ_ONLY}, traits("GET"), None),
        ({SessionControl.READ_ONLY}, traits("HEAD"), None),
        ({SessionControl.READ_ONLY}, traits("OPTIONS"), None),
        ({SessionControl.READ_ONLY}, traits("POST", body=True), SessionControl.READ_ONLY),
        ({SessionControl.READ_ONLY}, traits("PROPPATCH"), SessionControl.READ_ONLY),
        ({SessionControl.READ_ONLY}, traits("GET", upgrade=True), SessionControl.READ_ONLY),
        ({SessionControl.NO_UPLOADS}, traits("POST", body=True), SessionControl.NO_UPLOADS),
        ({SessionControl.NO_UPLOADS}, traits("POST"), None),
        ({SessionControl.NO_UPLOADS}, traits("GET", upgrade=True), SessionControl.NO_UPLOADS),
        ({SessionControl.NO_WEBSOCKET}, traits("GET", upgrade=True), SessionControl.NO_WEBSOCKET),
        ({SessionControl.NO_DOWNLOADS}, traits("GET"), None),
    ],
)
def test_session_controls_refuse(controls, request_traits, refused_by) -> None:
    assert refusing_control(frozenset(controls), request_traits) is refused_by


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


def make(*policies: AccessPolicy, ends: datetime = NOW + timedelta(hours=1)):
    signer = AssertionSigner(ec.generate_private_key(ec.SECP256R1()))
    ticket = maker(signer).make(
        APP, a_situation(), policies, session_id="ses_1", host="wiki.example", session_ends=ends
    )
    return signer, ticket


def test_a_ticket_ends_at_the_nearest_moment_that_could_change_it() -> None:
    allow = AccessPolicy(name="all", decision=Outcome.ALLOW)
    _, ticket = make(allow)
    assert ticket.valid_until == (NOW + timedelta(seconds=30)).timestamp()
    _, ticket = make(allow, ends=NOW + timedelta(seconds=5))
    assert ticket.valid_until == (NOW + timedelta(seconds=5)).timestamp()


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
