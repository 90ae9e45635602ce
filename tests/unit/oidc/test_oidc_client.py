"""The client against a provider that breaks on demand: discovery, keys, tokens, userinfo, readiness."""

import asyncio
import base64
import json
import ssl
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.schema import ClientAuth, DeviceClaim, Provider
from gateway.oidc.authorize import Wanted, new_attempt
from gateway.oidc.faults import ProviderFault, ProviderReason, TokenReason, TokenRefused
from gateway.oidc.io import KEEP_METADATA_S, LAST_RETRY_S, REFRESH_S, ProviderClient
from gateway.oidc.jwks import FORCED_BURST
from risk.values import Secret
from tests.op.gate import Clock, seeded
from tests.op.stub import DROP, RSA_1, RSA_2, Stub, jwk, running_stub, sign

REDIRECT = "https://login.corp.example/.gate/callback"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def stub(clock):
    async with running_stub(clock.timestamp) as running:
        yield running


def make_client(stub: Stub, clock: Clock, **options: Any) -> ProviderClient:
    members = {"client_id": "gate", "client_secret": Secret("a secret: with %+ signs"), **options}
    return ProviderClient(
        Provider(
            name="corp",
            issuer=options.pop("issuer", stub.issuer),
            **{k: v for k, v in members.items() if k != "issuer"},
        ),
        redirect_uri=REDIRECT,
        devices=(DeviceClaim(claim="device_id", kind="serial"),),
        now=clock.now,
        mono=clock.mono,
        sleep=clock.sleep,
    )


@pytest.fixture
async def client(stub, clock):
    made = make_client(stub, clock)
    await made.start()
    yield made
    await made.stop()


async def sign_in(stub: Stub, client: ProviderClient, wanted: Wanted = Wanted(), seed: int = 1) -> Any:  # noqa: B008
    attempt = new_attempt(seeded(seed))
    url = await client.authorization_url(attempt, wanted=wanted)
    back = stub.authorize(url)
    code = back.split("code=")[1].split("&")[0]
    return await client.redeem(code, attempt, wanted=wanted)


async def fault(stub: Stub, client: ProviderClient) -> ProviderReason:
    with pytest.raises(ProviderFault) as caught:
        await sign_in(stub, client)
    return caught.value.reason


async def test_a_whole_sign_in(stub, client):
    """Everything that later code needs arrives, and userinfo fills what the ID token lacks."""
    stub.claims = {"groups": ["staff"], "device_id": "SER-1"}
    stub.userinfo = {
        "sub": "u-1",
        "name": "Uma",
        "email": "u@corp.example",
        "email_verified": True,
        "groups": ["other"],
    }
    stub.token_members = {"refresh_token": "rt-1"}
    result = await sign_in(stub, client)
    assert result.user.names == {"u-1", "u@corp.example"}
    assert result.user.groups == {"staff"}
    assert result.user.name == "Uma"
    assert [each.identifier.value for each in result.devices] == ["SER-1"]
    assert result.refresh_token == "rt-1"
    assert result.token.sid == "sid-u-1"
    assert client.status().is_ready
    assert client.status().reason == ""


# --- discovery --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (lambda: web.Response(status=301, headers={"Location": "/elsewhere"}), ProviderReason.BAD_STATUS),
        (lambda: web.Response(status=500), ProviderReason.BAD_STATUS),
        (lambda: web.Response(text="<html>", content_type="text/html"), ProviderReason.NOT_JSON),
        (
            lambda: web.Response(body=b"x" * (5 << 20), content_type="application/json"),
            ProviderReason.TOO_LARGE,
        ),
        (lambda: web.Response(text="[]", content_type="application/json"), ProviderReason.NOT_JSON),
        (
            lambda: web.Response(
                body=b"x", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
            ),
            ProviderReason.NOT_JSON,
        ),
    ],
)
async def test_metadata_that_cannot_be_used(stub, client, response, reason):
    """D1: sign-in is not possible, status says why, and nothing raises at start."""
    stub.metadata_response = response
    assert await fault(stub, client) is reason
    assert not client.status().is_ready
    assert str(reason) in client.status().reason


async def test_the_issuer_of_the_metadata_must_be_ours(stub, client):
    """D2, end to end."""
    stub.metadata = {"issuer": stub.issuer + "/"}
    assert await fault(stub, client) is ProviderReason.ISSUER_MISMATCH


async def test_recovery_by_itself_with_back_off(stub, client, clock):
    """The background refresh pauses longer and longer, and notices when the provider is back."""
    stub.is_down = True
    for _ in range(8):
        await client._refresh()
        clock.wake()
        await settle()
    assert not client.status().is_ready
    pauses = [pause for pause in clock.slept if pause <= LAST_RETRY_S]
    assert 0.7 <= pauses[0] <= 1.0
    assert pauses == sorted(pauses) or max(pauses) <= LAST_RETRY_S
    stub.is_down = False
    clock.wake()
    await until(lambda: client.status().is_ready)
    assert client.status().is_reachable
    await until(lambda: clock.slept[-1] == REFRESH_S)


async def test_last_good_metadata_serves_a_bounded_time(stub, client, clock):
    """D6: sign-ins go on while the provider's metadata is away, until the bound; then they are refused."""
    await sign_in(stub, client)
    stub.metadata_response = lambda: web.Response(status=500)
    await client._refresh()
    assert client.status().is_ready
    assert not client.status().is_reachable
    await sign_in(stub, client)
    clock.advance(KEEP_METADATA_S)
    assert not client.status().is_ready
    with pytest.raises(ProviderFault):
        await client.metadata()
    stub.metadata_response = None
    clock.advance(2)
    assert (await client.metadata()).issuer == stub.issuer


async def test_sign_ins_do_not_hammer_a_provider_that_is_down(stub, client, clock):
    stub.is_down = True
    for _ in range(50):
        with pytest.raises(ProviderFault):
            await client.metadata()
    assert stub.calls["metadata"] <= 2


async def test_an_issuer_without_https_is_never_called(clock):
    stub = Stub(clock.timestamp)
    client = make_client(stub, clock, issuer="http://idp.example")
    await client.start()
    with pytest.raises(ProviderFault) as caught:
        await client.metadata()
    assert caught.value.reason is ProviderReason.METADATA_BAD_URL
    await client.stop()
    await client.stop()


async def test_private_ca(clock, tmp_path):
    """The configured CA is trusted; without it the same provider is refused."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    stub = Stub(clock.timestamp)
    server = TestServer(stub.app(), scheme="https")
    await server.start_server(ssl=context)
    stub.issuer = f"https://localhost:{server.port}"
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    try:
        for options, is_trusted in (({"ca": str(bundle)}, True), ({}, False)):
            client = make_client(stub, clock, **options)
            await client.start()
            if is_trusted:
                await sign_in(stub, client)
            else:
                assert await fault(stub, client) is ProviderReason.TLS
            await client.stop()
    finally:
        await server.close()


# --- token request ----------------------------------------------------------------------------------------


async def test_the_token_request(stub, client):
    """T1: exactly these parameters, form-encoded credentials, nothing else."""
    await sign_in(stub, client)
    form, authorization = stub.token_requests[0]
    assert sorted(form) == ["code", "code_verifier", "grant_type", "redirect_uri"]
    assert form["redirect_uri"] == REDIRECT
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"gate:a+secret%3A+with+%25%2B+signs"


@pytest.mark.parametrize("secret", ["pa:ss%+ é", "ü" * 20, "%2B", "a&b=c"])
async def test_odd_secrets_survive_basic(stub, clock, secret):
    """T2."""
    stub.client_secret = secret
    client = make_client(stub, clock, client_secret=Secret(secret))
    await client.start()
    assert (await sign_in(stub, client)).user.subject == "u-1"
    await client.stop()


async def test_post_and_public_clients(stub, clock):
    for options, secret in (
        ({"client_auth": ClientAuth.POST}, stub.client_secret),
        ({"client_secret": None}, None),
    ):
        stub.client_secret = secret
        client = make_client(stub, clock, **options)
        await client.start()
        assert (await sign_in(stub, client)).user.subject == "u-1"
        assert stub.token_requests[-1][1] is None
        await client.stop()


async def test_the_way_of_authenticating_follows_the_metadata(stub, clock):
    """D4: basic unless the provider knows only the form; a configured way is never changed."""
    for methods, configured, is_basic in (
        (["client_secret_post", "client_secret_basic"], None, True),
        (["client_secret_post"], None, False),
        (["private_key_jwt"], None, True),
        (["client_secret_post"], ClientAuth.BASIC, True),
    ):
        stub.metadata = {"token_endpoint_auth_methods_supported": methods}
        client = make_client(stub, clock, client_auth=configured)
        await client.start()
        await sign_in(stub, client)
        assert (stub.token_requests[-1][1] is not None) is is_basic
        await client.stop()


async def test_a_provider_that_hangs(stub, clock, monkeypatch):
    """T1: the request ends at the time-out; the person gets an answer and the code is not sent twice."""
    monkeypatch.setattr("gateway.oidc.io.REQUEST_TIMEOUT_S", 0.3)
    hanging = asyncio.Event()
    stub.token_wait = hanging
    client = make_client(stub, clock)
    await client.start()
    assert await fault(stub, client) is ProviderReason.UNREACHABLE
    assert stub.calls["token"] == 1
    hanging.set()
    await client.stop()


@pytest.mark.parametrize(
    "members",
    [
        {"id_token": DROP},
        {"id_token": ""},
        {"id_token": 7},
        {"access_token": DROP},
        {"access_token": "a\r\nb"},
        {"access_token": ["a"]},
        {"token_type": DROP},
        {"token_type": "DPoP"},
        {"expires_in": "soon"},
        {"expires_in": True},
        {"refresh_token": 7},
        {"refresh_token": "a b"},
    ],
)
async def test_token_responses_of_unsound_form(stub, client, members):
    """T4."""
    stub.token_members = members
    assert await fault(stub, client) is ProviderReason.TOKEN_RESPONSE_MALFORMED


async def test_token_type_in_any_case(stub, client):
    stub.token_members = {"token_type": "bEaReR", "expires_in": DROP}
    assert (await sign_in(stub, client)).user.subject == "u-1"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (lambda _: web.json_response({"error": "invalid_grant"}, status=400), ProviderReason.CODE_REFUSED),
        (lambda _: web.json_response({"error": "invalid_client"}, status=400), ProviderReason.CLIENT_REFUSED),
        (
            lambda _: web.json_response({"error": "unauthorized_client"}, status=400),
            ProviderReason.CLIENT_REFUSED,
        ),
        (lambda _: web.Response(status=401, text="no"), ProviderReason.CLIENT_REFUSED),
        (lambda _: web.json_response({"error": ["x"]}, status=400), ProviderReason.TOKEN_REQUEST_REFUSED),
        (lambda _: web.Response(status=500), ProviderReason.BAD_STATUS),
        (
            lambda _: web.Response(status=302, headers={"Location": "/token"}),
            ProviderReason.TOKEN_REQUEST_REFUSED,
        ),
        (
            lambda _: web.Response(text="x" * 300_000, content_type="application/json"),
            ProviderReason.TOO_LARGE,
        ),
        (lambda m: web.Response(text=str(m)), ProviderReason.TOKEN_RESPONSE_MALFORMED),
        (
            lambda _: web.Response(text="{", content_type="application/json"),
            ProviderReason.TOKEN_RESPONSE_MALFORMED,
        ),
    ],
)
async def test_what_the_token_endpoint_may_answer_instead(stub, client, response, reason):
    """T1, T5: one request, no redirect followed, each answer its own reason."""
    stub.token_response = response
    assert await fault(stub, client) is reason
    assert stub.calls["token"] == 1


@pytest.mark.parametrize("secret", [None, Secret("wrong")])
async def test_a_refused_client_without_a_secret_is_told_so(stub, clock, secret):
    client = make_client(stub, clock, client_secret=secret)
    await client.start()
    stub.token_response = lambda _: web.json_response({"error": "invalid_client"}, status=401)
    with pytest.raises(ProviderFault) as caught:
        await sign_in(stub, client)
    await client.stop()
    assert ("no `client_secret`" in caught.value.detail) == (secret is None)


# --- keys -------------------------------------------------------------------------------------------------


async def test_many_sign_ins_fetch_keys_once(stub, client):
    """K1."""
    for seed in range(20):
        await sign_in(stub, client, seed=seed)
    assert stub.calls["jwks"] == 1


async def test_rotation_and_rotation_just_before_signing(stub, client):
    """K2: a new kid is fetched within the sign-in that meets it."""
    await sign_in(stub, client)
    stub.keys = [jwk(RSA_2, "rsa-2")]
    stub.signing_key, stub.header = RSA_2, {"kid": "rsa-2"}
    assert (await sign_in(stub, client)).user.subject == "u-1"
    assert stub.calls["jwks"] == 2


async def test_another_key_under_the_same_kid(stub, client):
    """K3: a failing signature under a known kid looks once more."""
    await sign_in(stub, client)
    stub.keys = [jwk(RSA_2, "rsa-1")]
    stub.signing_key = RSA_2
    assert (await sign_in(stub, client)).user.subject == "u-1"
    assert stub.calls["jwks"] == 2


async def test_forged_kids_do_not_become_fetches(stub, client):
    """K2: many unknown kids, a few fetches and then none."""
    await sign_in(stub, client)
    for seed in range(20):
        stub.header = {"kid": f"forged-{seed}"}
        with pytest.raises(TokenRefused) as caught:
            await sign_in(stub, client, seed=seed)
        assert caught.value.reason is TokenReason.UNKNOWN_KEY
    assert stub.calls["jwks"] == 1 + FORCED_BURST


@pytest.mark.parametrize("kind", ["application/json", "application/jwk-set+json"])
async def test_content_types_of_key_sets(stub, client, kind):
    """K6."""
    stub.keys_response = lambda: web.Response(text=json.dumps({"keys": stub.keys}), content_type=kind)
    assert (await sign_in(stub, client)).user.subject == "u-1"


async def test_keys_that_cannot_be_fetched(stub, client):
    stub.keys_response = lambda: web.Response(text="{}", content_type="text/html")
    assert await fault(stub, client) is ProviderReason.NOT_JSON
    stub.keys_response = lambda: web.Response(body=b" " * 600_000, content_type="application/json")
    assert (await fault(stub, client)) in {ProviderReason.NOT_JSON, ProviderReason.TOO_LARGE}


async def test_the_id_token_is_refused_end_to_end(stub, client):
    """V5 and V11 through the whole client."""
    stub.claims = {"nonce": "other"}
    with pytest.raises(TokenRefused) as caught:
        await sign_in(stub, client)
    assert caught.value.reason is TokenReason.NONCE
    stub.claims = {}
    stub.make_token = lambda header, claims: sign(RSA_2, "RS256", header, claims)
    with pytest.raises(TokenRefused) as caught:
        await sign_in(stub, client)
    assert caught.value.reason is TokenReason.SIGNATURE
    stub.make_token = lambda header, claims: "x" * 20_000
    with pytest.raises(TokenRefused) as caught:
        await sign_in(stub, client)
    assert caught.value.reason is TokenReason.TOO_LARGE


# --- userinfo ---------------------------------------------------------------------------------------------


async def test_userinfo_of_another_subject_fails_the_sign_in(stub, client):
    """U2."""
    stub.userinfo = {"sub": "somebody-else", "groups": ["admins"]}
    assert await fault(stub, client) is ProviderReason.USERINFO_OTHER_SUBJECT


@pytest.mark.parametrize(
    "response",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(text="a.b.c", content_type="application/jwt"),
        lambda: web.Response(text="[]", content_type="application/json"),
        lambda: web.Response(status=302, headers={"Location": "https://evil.example"}),
    ],
)
async def test_userinfo_that_cannot_be_used(stub, client, response):
    """U1, U5: the sign-in goes on, with groups unknown instead of none."""
    stub.userinfo_response = response
    result = await sign_in(stub, client)
    assert not result.user.are_groups_known
    assert result.user.names == {"u-1"}


async def test_userinfo_is_asked_only_when_something_is_missing(stub, client):
    stub.claims = {"groups": [], "email": "u@corp.example", "name": "U", "device_id": "S"}
    await sign_in(stub, client)
    assert "userinfo" not in stub.calls
    stub.claims["groups"] = DROP
    stub.userinfo = {"sub": "u-1", "groups": ["late"]}
    assert (await sign_in(stub, client)).user.groups == {"late"}


async def test_overage_is_not_looked_up_anywhere(stub, client):
    """U6: no connection to what the token names; groups are unknown."""
    stub.claims = {
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "http://169.254.169.254/"}},
        "email": "u@corp.example",
        "name": "U",
        "device_id": "S",
    }
    result = await sign_in(stub, client)
    assert not result.user.are_groups_known
    assert set(stub.calls) == {"metadata", "jwks", "token"}


async def test_step_up_reaches_the_token_check(stub, client):
    stub.claims = {"acr": "pwd"}
    with pytest.raises(TokenRefused) as caught:
        await sign_in(stub, client, Wanted(acr_values=("mfa",)))
    assert caught.value.reason is TokenReason.ACR
    stub.claims = {"acr": "mfa"}
    assert (await sign_in(stub, client, Wanted(acr_values=("mfa",), max_age_s=60))).user.acr == "mfa"


async def test_keys_set_to_rsa_1_by_default(stub):
    """The stub signs with what it publishes; otherwise the tests above would prove nothing."""
    assert stub.keys == [jwk(RSA_1, "rsa-1", alg="RS256")]


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Any) -> None:
    """Wait for real input and output on loopback, bounded by the test's time-out."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - another loop's input and output, not a time
            await asyncio.sleep(0.005)
