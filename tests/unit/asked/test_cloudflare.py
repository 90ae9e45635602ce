"""Cloudflare asks: real keys and tokens, a real key endpoint on loopback."""

import json
from datetime import UTC, datetime

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric import rsa

from compliance.model import ComplianceState
from gateway.asked.cloudflare import HEADER, PostureAsked
from gateway.config.asked import CloudflareAccess
from gateway.config.schema import Sensor
from gateway.decision.judge import Interpretation
from plugins.catalog import Catalog
from risk.model import DeviceId, Finding, Identifier, Posture, SensorRules, Severity, SignalType
from risk.snapshot import RiskState

NOW = datetime.now(UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
AUD = "aud-tag-of-the-application"
DEVICE = {"device_id": "cf-1", "email": "a@example.org", "serial_number": "SER1", "hostname": "mac-1"}


def public(key):
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "k1", "alg": "RS256"}


@pytest.fixture
async def team():
    async def certs(_request):
        return web.json_response({"keys": [public(KEY)], "public_certs": []})

    application = web.Application()
    application.router.add_get("/cdn-cgi/access/certs", certs)
    server = TestServer(application)
    await server.start_server()
    yield str(server.make_url("")).rstrip("/")
    await server.close()


@pytest.fixture
async def rig(team):
    state = RiskState()
    interpretation = Interpretation({"edr": SensorRules(name="edr")}, (), ComplianceState.COMPLIANT)
    asked = PostureAsked(state, lambda: interpretation, clock=lambda: NOW)
    sensor = Sensor(
        name="warp", kind="cloudflare", auth=CloudflareAccess(team=team, audiences=(AUD,)), body_bytes=4096
    )
    asked.configure([sensor])
    application = web.Application()
    application.add_routes(asked.routes())
    client = TestClient(TestServer(application))
    await client.start_server()
    yield state, client, team
    await client.close()
    await asked.close()


def token(team, key=KEY, *, algorithm="RS256", **claims):
    given = {
        "iss": team,
        "aud": [AUD],
        "exp": int(NOW.timestamp()) + 60,
        "sub": "",
        "common_name": "svc.access",
    }
    headers = {"kid": "k1"}
    return jwt.encode({**given, **claims}, key, algorithm=algorithm, headers=headers)


async def ask(client, body, assertion, name="warp"):
    headers = {} if assertion is None else {HEADER: assertion}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(f"/.gate/posture/{name}", data=data, headers=headers)


def posture(serial, level=None):
    findings = {}
    if level is not None:
        finding = Finding(
            sensor="edr", external_id="c", type=SignalType.DETECTION, level=level, is_open=True,
            observed_at=NOW, received_at=NOW, first_observed_at=NOW,
        )  # fmt: skip
        findings = {("edr", "c"): finding}
    return Posture(
        device_id=DeviceId(f"dev_{serial}"),
        identifiers=(Identifier("serial", serial),),
        findings=findings,
        heard={"edr": NOW},
    )


async def test_every_device_gets_the_score_of_what_is_known_of_it_now(rig):
    state, client, team = rig
    state.put(posture("SER1"))
    state.put(posture("SER2", Severity.HIGH))
    state.put(posture("SER3", Severity.MEDIUM))
    devices = [{"device_id": f"cf-{number}", "serial_number": f"ser{number}"} for number in (1, 2, 3, 4)]
    answer = await ask(client, {"devices": [*devices, {"serial_number": "SER1"}]}, token(team))
    assert answer.status == 200
    assert await answer.json() == {
        "result": {
            "cf-1": {"s2s_id": "dev_SER1", "score": 100},
            "cf-2": {"s2s_id": "dev_SER2", "score": 0},
            "cf-3": {"s2s_id": "dev_SER3", "score": 50},
            "cf-4": {"s2s_id": "", "score": 0},
        }
    }
    state.put(posture("SER1", Severity.CRITICAL))
    answer = await ask(client, {"devices": devices[:1]}, token(team))
    assert (await answer.json())["result"]["cf-1"]["score"] == 0


async def test_a_name_alone_names_no_device_unless_it_is_allowed_to(rig):
    state, client, team = rig
    state.put(Posture(device_id=DeviceId("dev_1"), identifiers=(Identifier("hostname", "mac-1"),)))
    answer = await ask(client, {"devices": [{**DEVICE, "serial_number": ""}]}, token(team))
    assert (await answer.json())["result"]["cf-1"] == {"s2s_id": "", "score": 0}


REFUSED = [
    (lambda team: None, "sender-unauthenticated"),
    (lambda team: "x.y.z", "token-malformed"),
    (lambda team: token(team, OTHER), "token-bad-signature"),
    (lambda team: token("https://evil.cloudflareaccess.com"), "token-wrong-issuer"),
    (lambda team: token(team, aud=["another"]), "token-wrong-audience"),
    (lambda team: token(team, exp=int(NOW.timestamp()) - 3600), "token-expired"),
    (lambda team: token(team, nbf=int(NOW.timestamp()) + 3600), "token-not-yet-valid"),
    (lambda team: token(team, "s" * 32, algorithm="HS256"), "token-algorithm-not-allowed"),
]


@pytest.mark.parametrize(("make", "code"), REFUSED)
async def test_nobody_but_the_team_is_answered(rig, make, code):
    _, client, team = rig
    answer = await ask(client, {"devices": [DEVICE]}, make(team))
    assert (answer.status, (await answer.json())["code"]) == (401, code)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        ({"no": 1}, 400),
        ([1], 400),
        ({"devices": {}}, 400),
        ({"devices": [None, 1, "x", {"device_id": {}}, {"device_id": "a", "serial_number": ["b"]}]}, 200),
        (b"[" * 3000, 400),
        (b" " * 5000, 413),
    ],
)
async def test_what_is_no_question_is_told_so(rig, body, status):
    _, client, team = rig
    assert (await ask(client, body, token(team))).status == status


async def test_a_team_whose_keys_cannot_be_read_is_not_believed(rig):
    _, _, team = rig
    asked = PostureAsked(RiskState(), lambda: None, clock=lambda: NOW)
    auth = CloudflareAccess(team="http://127.0.0.1:9", audiences=(AUD,))
    asked.configure([Sensor(name="warp", kind="cloudflare", auth=auth)])
    application = web.Application()
    application.add_routes(asked.routes())
    async with TestClient(TestServer(application)) as other:
        answer = await ask(other, {"devices": [DEVICE]}, token("http://127.0.0.1:9"))
        assert answer.status == 503
        assert (await ask(other, {}, token(team), "nobody")).status == 404
    await asked.close()


def test_the_kind_is_installed():
    assert "cloudflare" in Catalog.discover().kinds
