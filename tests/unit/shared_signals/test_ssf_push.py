"""The push endpoint with hostile and honest transmitters: what is refused, how, and that nothing is ever a 500."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import jwt
import pytest
from joserfc.jwk import ECKey

from tests.op.stub import sign
from tests.ssf.transmitter import CAEP, RISC, Transmitter, rsa_key, running_transmitter
from tests.ssf.world import ISSUER, SECRET, World, running_world

ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}
REVOKED = {CAEP + "session-revoked": {}}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as made:
        yield made


@pytest.fixture
async def transmitter(world: World) -> AsyncIterator[Transmitter]:
    async with running_transmitter(world.clock.timestamp) as made:
        await world.receiver(made)
        yield made


def unsigned(transmitter: Transmitter) -> str:
    """Return a token with `alg: none`."""
    header = base64.urlsafe_b64encode(b'{"typ":"secevent+jwt","alg":"none"}').rstrip(b"=").decode()
    payload = json.dumps(transmitter.claims(REVOKED, ALICE)).encode()
    return f"{header}.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}."


def with_public_key_as_secret(transmitter: Transmitter) -> str:
    """Return a token whose HMAC key is the published RSA key: the classic confusion."""
    header = {"typ": "secevent+jwt", "alg": "HS256", "kid": "k1"}
    return sign(
        transmitter.signing.as_pem(private=False), "HS256", header, transmitter.claims(REVOKED, ALICE)
    )


def nested(transmitter: Transmitter) -> str:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    return transmitter.token({CAEP + "session-revoked": {"x": deep}}, ALICE)


def borrowed(transmitter: Transmitter) -> str:
    """Return a token with the signature of another one."""
    one, other = (transmitter.token(REVOKED, ALICE) for _ in range(2))
    return one.rpartition(".")[0] + "." + other.rpartition(".")[2]


HOSTILE: dict[str, tuple[Callable[[Transmitter], str | bytes], int, str]] = {
    "no token at all": (lambda _: "", 400, "invalid_request"),
    "not a token": (lambda _: "hello", 400, "invalid_request"),
    "not ascii": (lambda _: b"\xff\xfe", 400, "invalid_request"),
    "json instead": (lambda _: '{"iss": "x"}', 400, "invalid_request"),
    "five parts": (lambda _: "a.b.c.d.e", 400, "invalid_request"),
    "alg none": (unsigned, 400, "invalid_key"),
    "hmac with the public key": (with_public_key_as_secret, 400, "invalid_key"),
    "signature of another token": (borrowed, 400, "invalid_key"),
    "typ JWT": (lambda t: t.token(REVOKED, ALICE, header={"typ": "JWT"}), 400, "invalid_request"),
    "no typ": (lambda t: t.token(REVOKED, ALICE, header={"typ": ...}), 400, "invalid_request"),
    "typ logout+jwt": (lambda t: t.token(REVOKED, ALICE, header={"typ": "logout+jwt"}), 400, "invalid_request"),
    "unknown kid": (lambda t: t.token(REVOKED, ALICE, header={"kid": "k9"}), 400, "invalid_key"),
    "a stranger's key": (lambda t: t.token(REVOKED, ALICE, key=rsa_key("k1")), 400, "invalid_key"),
    "wrong issuer": (lambda t: t.token(REVOKED, ALICE, iss="https://evil.example"), 400, "invalid_issuer"),
    "no issuer": (lambda t: t.token(REVOKED, ALICE, iss=...), 400, "invalid_issuer"),
    "wrong audience": (lambda t: t.token(REVOKED, ALICE, aud="https://other.example"), 400, "invalid_audience"),
    "no audience": (lambda t: t.token(REVOKED, ALICE, aud=...), 400, "invalid_audience"),
    "audience of numbers": (lambda t: t.token(REVOKED, ALICE, aud=[1, 2]), 400, "invalid_audience"),
    "no jti": (lambda t: t.token(REVOKED, ALICE, jti=...), 400, "invalid_request"),
    "jti a number": (lambda t: t.token(REVOKED, ALICE, jti=7), 400, "invalid_request"),
    "jti with a line": (lambda t: t.token(REVOKED, ALICE, jti="a\nb"), 400, "invalid_request"),
    "no iat": (lambda t: t.token(REVOKED, ALICE, iat=...), 400, "invalid_request"),
    "iat a text": (lambda t: t.token(REVOKED, ALICE, iat="now"), 400, "invalid_request"),
    "iat in the future": (lambda t: t.token(REVOKED, ALICE, iat=int(t.now()) + 3600), 400, "invalid_request"),
    "iat beyond any calendar": (lambda t: t.token(REVOKED, ALICE, iat=10**18), 400, "invalid_request"),
    "exp": (lambda t: t.token(REVOKED, ALICE, exp=int(t.now()) + 60), 400, "invalid_request"),
    "sub": (lambda t: t.token(REVOKED, ALICE, sub="alice"), 400, "invalid_request"),
    "no events": (lambda t: t.token({}, ALICE), 400, "invalid_request"),
    "events a list": (lambda t: t.token(["x"], ALICE), 400, "invalid_request"),
    "an event that is no object": (lambda t: t.token({CAEP + "x": 1}, ALICE), 400, "invalid_request"),
    "too many events": (
        lambda t: t.token({f"{CAEP}{n}": {} for n in range(17)}, ALICE), 400, "invalid_request"
    ),
    "too large": (lambda t: t.token({CAEP + "x": {"x": "x" * 20_000}}, ALICE), 413, "invalid_request"),
    "far too large": (lambda _: b"x" * 70_000, 413, "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_cannot_be_believed_is_refused_as_rfc_8935_says(
    world: World, transmitter: Transmitter, name: str
) -> None:
    """P2: a 4xx with a code, in the transmitter's words; nobody's session ends."""
    make, status, code = HOSTILE[name]
    await world.sign_in("alice")
    answered, body = await world.push(make(transmitter))
    assert (answered, json.loads(body)["err"]) == (status, code)
    assert json.loads(body)["description"]
    assert world.signed_in() == ["alice"]
    assert world.enforced == []


async def test_nesting_is_bounded(world: World, transmitter: Transmitter) -> None:
    """Whatever the depth: a defined answer."""
    status, _ = await world.push(nested(transmitter))
    assert status in (202, 400)


async def test_duplicate_members_are_no_token(world: World, transmitter: Transmitter) -> None:
    """Two readers must not see two subjects."""
    claims = (
        json.dumps(transmitter.claims(REVOKED, ALICE))[:-1] + ', "sub_id": {"format": "opaque", "id": "x"}}'
    )
    key = jwt.PyJWK(transmitter.signing.as_dict(private=True))
    raw = jwt.api_jws.encode(
        claims.encode(), key, algorithm="RS256", headers={"typ": "secevent+jwt", "kid": "k1"}
    )
    assert (await world.push(raw))[0] == 400


@pytest.mark.parametrize(
    ("authorization", "kind", "options", "status"),
    [
        ("", "application/secevent+jwt", {}, 401),
        ("Bearer wrong", "application/secevent+jwt", {}, 401),
        ("Basic " + SECRET, "application/secevent+jwt", {}, 401),
        ("Bearer " + SECRET + "x", "application/secevent+jwt", {}, 401),
        ("Bearer " + SECRET, "application/json", {}, 415),
        ("Bearer " + SECRET, "text/plain", {}, 415),
        ("Bearer " + SECRET, "application/secevent+jwt", {"headers": {"Content-Encoding": "gzip"}}, 415),
    ],
)
async def test_who_and_what_may_come_in(
    world: World,
    transmitter: Transmitter,
    authorization: str,
    kind: str,
    options: dict[str, Any],
    status: int,
) -> None:
    """P3, P5: before anything of the body is looked at."""
    await world.sign_in("alice")
    token = transmitter.token(REVOKED, ALICE)
    answered, body = await world.push(token, authorization=authorization, kind=kind, **options)
    assert answered == status
    assert SECRET not in body
    assert world.signed_in() == ["alice"]


async def test_a_session_ends_before_the_202_and_a_replay_changes_nothing(
    world: World, transmitter: Transmitter
) -> None:
    """E5: acknowledged again, applied once; also by a receiver that was started anew."""
    await world.sign_in("alice")
    await world.sign_in("bob")
    token = transmitter.token(REVOKED, ALICE)
    assert await world.push(token) == (202, "")
    assert world.signed_in() == ["bob"]
    assert world.enforced == [("alice",)]
    await world.sign_in("alice")
    assert await world.push(token) == (202, "")
    await world.receivers["idp"].stop()
    await world.receiver(transmitter)
    assert await world.push(token) == (202, "")
    assert world.signed_in() == ["alice", "bob"]
    assert [each.verdict for each in world.observed] == ["applied", "duplicate", "duplicate"]


async def test_not_enforced_is_not_acknowledged(world: World, transmitter: Transmitter) -> None:
    """INVARIANT: the transmitter is told to send again, and then it is applied although its effect is there."""
    await world.sign_in("alice")
    world.is_failing = True
    token = transmitter.token(REVOKED, ALICE)
    status, body = await world.push(token)
    assert (status, json.loads(body)["err"]) == (503, "invalid_request")
    assert world.signed_in() == []
    world.is_failing = False
    assert (await world.push(token))[0] == 202
    assert [each.verdict for each in world.observed] == ["not-enforced", "applied"]


async def test_rotated_and_withdrawn_keys(world: World, transmitter: Transmitter) -> None:
    """E4: a new key is found at once; one that was taken out of the set is no key any more."""
    await world.push(transmitter.token(REVOKED, ALICE))
    old, new = transmitter.signing, ECKey.generate_key("P-256", {"kid": "k2", "use": "sig"}, private=True)
    transmitter.keys, transmitter.signing = [new], new
    assert (await world.push(transmitter.token(REVOKED, ALICE)))[0] == 202
    status, body = await world.push(transmitter.token(REVOKED, ALICE, key=old))
    assert (status, json.loads(body)["err"]) == (400, "invalid_key")


async def test_a_storm_of_unknown_keys_fetches_no_more_than_a_few_times(
    world: World, transmitter: Transmitter
) -> None:
    """Forged ids must not turn us against the transmitter; whoever is honest is told to come again."""
    tokens = [transmitter.token(REVOKED, ALICE, header={"kid": f"forged-{n}"}) for n in range(60)]
    answers = await asyncio.gather(*(world.push(token) for token in tokens))
    assert {status for status, _ in answers} <= {400, 429}
    assert transmitter.calls.count("jwks") <= 5
    world.clock.advance(3600)
    assert (await world.push(transmitter.token(REVOKED, ALICE)))[0] == 202


async def test_unknown_key_while_the_keys_are_away(world: World, transmitter: Transmitter) -> None:
    """P5: 503, never `invalid_key`: nobody knows whether the key is a new one."""
    await world.push(transmitter.token(REVOKED, ALICE))
    new = rsa_key("k2")
    transmitter.are_keys_down = True
    assert (await world.push(transmitter.token(REVOKED, ALICE, key=new)))[0] == 503
    transmitter.are_keys_down, transmitter.keys = False, [new]
    assert (await world.push(transmitter.token(REVOKED, ALICE, key=new)))[0] == 202


async def test_the_rate_is_bounded(world: World, transmitter: Transmitter) -> None:
    """P4: 429 with a time."""
    await world.receivers["idp"].stop()
    await world.receiver(transmitter, rate=0.1)
    answers = [await world.push(transmitter.token(REVOKED, ALICE)) for _ in range(3)]
    assert [status for status, _ in answers][-1] == 429


async def test_a_transmitter_that_sends_no_secret_is_told_by_its_signature(
    world: World, transmitter: Transmitter
) -> None:
    """Only where the configuration says so."""
    await world.receiver(transmitter, secrets=(), unauthenticated_push=True)
    await world.sign_in("alice")
    forged = transmitter.caep("session-revoked", ALICE, key=rsa_key("k1"))
    assert (await world.push(forged, authorization=""))[0] == 400
    assert world.signed_in() == ["alice"]
    assert (await world.push(transmitter.caep("session-revoked", ALICE), authorization=""))[0] == 202
    assert world.signed_in() == []
    await world.receiver(transmitter, secrets=())
    assert (await world.push(transmitter.caep("session-revoked", ALICE), authorization=""))[0] == 401


async def test_other_methods_and_receivers(world: World, transmitter: Transmitter) -> None:
    """405 with `Allow`; what no receiver is named by does not exist."""
    assert transmitter.issuer
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{world.url}/.gate/ssf/idp") as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
        async with http.post(f"{world.url}/.gate/ssf/nobody", data=b"x") as response:
            assert response.status == 404


async def test_unknown_events_and_members_are_acknowledged(world: World, transmitter: Transmitter) -> None:
    """E8: and what is known beside them takes effect once."""
    await world.sign_in("alice")
    events = {"https://vendor.example/unknown": {"x": [1]}, CAEP + "session-revoked": {"new": {"a": 1}}}
    assert (await world.push(transmitter.token(events, {**ALICE, "new": 1}, extra=[1])))[0] == 202
    assert world.signed_in() == []
    assert (await world.push(transmitter.token({"https://vendor.example/unknown": {}}, ALICE)))[0] == 202
    assert [each.verdict for each in world.observed] == ["applied", "recorded"]


@pytest.mark.parametrize(
    ("events", "subject"),
    [
        ({CAEP + "device-compliance-change": {}}, {"format": "opaque", "id": "SER-1"}),
        ({CAEP + "risk-level-change": {"principal": 5, "current_level": ["x"]}}, ALICE),
        ({CAEP + "credential-change": {"change_type": "revoke"}}, ALICE),
        ({CAEP + "token-claims-change": {"claims": "x"}}, ALICE),
        ({CAEP + "session-revoked": {}}, None),
        ({CAEP + "session-revoked": {}}, "alice"),
        ({CAEP + "session-revoked": {}}, {"format": "made-up", "id": "x"}),
        ({RISC + "account-disabled": {}}, {"format": "aliases", "identifiers": []}),
        (
            {CAEP + "device-compliance-change": {"current_status": "not-compliant"}},
            {"format": "email", "email": "a@b"},
        ),
    ],
)
async def test_malformed_events_are_acknowledged_and_kept_as_dead_letters(
    world: World, transmitter: Transmitter, events: dict[str, Any], subject: Any
) -> None:
    """C1: they would come back for ever, and hold up those behind them."""
    assert (await world.push(transmitter.token(events, subject)))[0] == 202
    assert [each.verdict for each in world.observed] == ["malformed"]
    kept = await world.database.read(
        lambda connection: connection.execute("SELECT count(*) FROM risk_dead_letters").fetchone()
    )
    assert kept == (1,)
