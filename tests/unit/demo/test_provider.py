"""The demo provider is real where a relying party looks: these are the checks that it must not skip."""

import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from multidict import MultiDict
from yarl import URL

from gateway.demo.browser import Answer, Browser, form_of
from gateway.demo.loopback import loopback_client, serving
from gateway.demo.openid import Client, SignIn
from gateway.demo.provider import Provider, is_enough
from tests.ports import free_ports

REDIRECT_URI = "http://login.localhost:9/.gate/callback"
SIGNED_OUT = "http://login.localhost:9/.gate/signed-out"
VERIFIER = "a-verifier-that-is-long-enough-for-rfc-7636-to-like-it"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@dataclass
class World:
    """A running provider, and a browser without cookies."""

    issuer: str
    browser: Browser

    def authorize_url(self, **changes: str | None) -> str:
        parameters = {
            "response_type": "code",
            "client_id": "gate",
            "redirect_uri": REDIRECT_URI,
            "scope": "openid profile email",
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        } | changes
        present = {name: value for name, value in parameters.items() if value is not None}
        return str(URL(f"{self.issuer}/authorize").with_query(present))

    async def click(self, page: Answer, field: str, value: str) -> Answer:
        """Press a button of the page, and return the answer without following it to the relying party."""
        form = form_of(page, "/interaction/")
        assert form is not None, page.text
        return await self.browser.fetch(self.issuer + form.action, method="POST", form={field: value})

    async def sign_in(self, subject: str = "ana", **changes: str | None) -> dict[str, str]:
        """Return the parameters with which the browser is sent back."""
        page = await self.browser.navigate(self.authorize_url(**changes))
        return parameters_of(await self.click(page, "person", subject))

    async def redeem(self, code: str, **changes: str) -> Answer:
        """Exchange a code for tokens as the relying party does."""
        secret = changes.pop("secret", "secret")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        } | changes
        basic = base64.b64encode(f"gate:{secret}".encode()).decode()
        async with (
            loopback_client() as client,
            client.post(
                f"{self.issuer}/token", data=form, headers={"Authorization": f"Basic {basic}"}
            ) as answer,
        ):
            headers = {name.lower(): value for name, value in answer.headers.items()}
            text = await answer.text()
            return Answer(url=str(answer.url), status=answer.status, headers=headers, text=text, took_s=0.0)

    async def id_token(self, **changes: str | None) -> dict[str, Any]:
        """Sign in and return the verified claims of the ID token."""
        answer = await self.redeem((await self.sign_in(**changes))["code"])
        return await self.verified(answer.json()["id_token"])

    async def verified(self, token: str) -> dict[str, Any]:
        keys = jwt.PyJWKSet.from_dict((await self.browser.fetch(f"{self.issuer}/jwks")).json())
        return jwt.decode(token, keys.keys[0], algorithms=["RS256"], audience="gate", issuer=self.issuer)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    (port,) = free_ports(1)
    issuer = f"http://127.0.0.1:{port}"
    provider = Provider(
        issuer=issuer,
        client=Client("gate", "secret", REDIRECT_URI),
        client_name="the tests",
        post_logout_redirect_uris=(SIGNED_OUT,),
    )
    async with serving(provider.app(), port), Browser() as browser:
        yield World(issuer, browser)


def parameters_of(answer: Answer) -> dict[str, str]:
    assert answer.status in {302, 303}, answer.text
    assert answer.location.startswith(REDIRECT_URI + "?")
    return dict(URL(answer.location).query)


# --- the whole flow -----------------------------------------------------------------------------------------


async def test_code_flow_gives_verified_claims(world: World) -> None:
    """Discovery, a click, a code, tokens, userinfo: everything names the same person and laptop."""
    metadata = (await world.browser.fetch(f"{world.issuer}/.well-known/openid-configuration")).json()
    assert metadata["issuer"] == world.issuer
    assert metadata["code_challenge_methods_supported"] == ["S256"]

    back = await world.sign_in()
    assert back["state"] == "s-1"
    assert back["iss"] == world.issuer
    tokens = (await world.redeem(back["code"])).json()
    claims = await world.verified(tokens["id_token"])
    half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
    assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
    assert claims["sub"] == "ana"
    assert claims["nonce"] == "n-1"
    assert claims["email_verified"] is True
    assert claims["groups"] == ["staff", "engineering"]
    assert claims["device_id"] == "PGD-7Q4-0001"
    assert (claims["acr"], claims["amr"]) == ("basic", ["pwd"])
    assert abs(claims["auth_time"] - time.time()) < 60

    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    info = (await world.browser.fetch(f"{world.issuer}/userinfo", headers=bearer)).json()
    assert info["sub"] == "ana"
    assert info["email"] == "ana.torres@demo.example"


async def test_contractor_has_no_device(world: World) -> None:
    claims = await world.id_token(subject="chloe")
    assert claims["groups"] == ["contractors"]
    assert "device_id" not in claims


async def test_scope_decides_which_claims(world: World) -> None:
    claims = await world.id_token(scope="openid")
    assert "email" not in claims
    assert "groups" not in claims


# --- what it must refuse ------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", [REDIRECT_URI + "/", REDIRECT_URI + "?x=1", "http://evil.localhost/cb", None])
async def test_other_redirect_uri_gets_no_redirect(world: World, uri: str | None) -> None:
    """An unknown redirect URI is told to the person, never redirected to."""
    answer = await world.browser.navigate(world.authorize_url(redirect_uri=uri))
    assert answer.status == 400
    assert answer.location == ""


async def test_unknown_client_gets_no_redirect(world: World) -> None:
    answer = await world.browser.navigate(world.authorize_url(client_id="other"))
    assert answer.status == 400
    assert answer.location == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"nonce": None},
        {"response_type": "token"},
    ],
)
async def test_weak_requests_are_refused(world: World, changes: dict[str, str | None]) -> None:
    """PKCE S256, a nonce and the code flow are required; the relying party is told."""
    back = parameters_of(await world.browser.navigate(world.authorize_url(**changes)))
    assert back["error"] in {"invalid_request", "unsupported_response_type"}
    assert back["iss"] == world.issuer
    assert back["state"] == "s-1"


async def test_cancel_is_access_denied(world: World) -> None:
    assert (await world.sign_in(""))["error"] == "access_denied"


async def test_code_works_once(world: World) -> None:
    code = (await world.sign_in())["code"]
    assert (await world.redeem(code)).status == 200
    again = await world.redeem(code)
    assert again.status == 400
    assert again.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code_verifier": "x" * 50}, 400, "invalid_grant"),
        ({"code_verifier": ""}, 400, "invalid_request"),
        ({"redirect_uri": "http://login.localhost:9/other"}, 400, "invalid_grant"),
        ({"code": "guessed"}, 400, "invalid_grant"),
        ({"secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_token_requests_that_fail(
    world: World, changes: dict[str, str], status: int, error: str
) -> None:
    code = (await world.sign_in())["code"]
    answer = await world.redeem(**({"code": code} | changes))
    assert answer.status == status
    assert answer.json()["error"] == error


async def test_userinfo_needs_a_token(world: World) -> None:
    answer = await world.browser.fetch(f"{world.issuer}/userinfo", headers={"Authorization": "Bearer x"})
    assert answer.status == 401


async def test_interaction_works_once(world: World) -> None:
    page = await world.browser.navigate(world.authorize_url())
    parameters_of(await world.click(page, "person", "ana"))
    assert (await world.click(page, "person", "ana")).status == 400


# --- stronger and fresher -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"acr_values": "phr"}, {"prompt": "login"}, {"max_age": "0"}])
async def test_second_click_when_asked(world: World, changes: dict[str, str | None]) -> None:
    """A stronger or fresher sign-in takes the security key, and the ID token says so."""
    page = await world.click(await world.browser.navigate(world.authorize_url(**changes)), "person", "dana")
    assert "Confirm with your security key" in page.text
    back = parameters_of(await world.click(page, "key", "touched"))
    claims = await world.verified((await world.redeem(back["code"])).json()["id_token"])
    assert claims["acr"] == "phr"
    assert "hwk" in claims["amr"]


async def test_key_without_a_person_signs_nobody_in(world: World) -> None:
    page = await world.browser.navigate(world.authorize_url(acr_values="phr"))
    assert parameters_of(await world.click(page, "key", "touched"))["error"] == "access_denied"


async def test_silent_sign_in(world: World) -> None:
    """`prompt=none` uses what the browser did before, and nothing else."""
    silent = world.authorize_url(prompt="none")
    assert parameters_of(await world.browser.navigate(silent))["error"] == "login_required"
    await world.sign_in()
    assert "code" in parameters_of(await world.browser.navigate(silent))
    stronger = world.authorize_url(prompt="none", acr_values="phr")
    assert parameters_of(await world.browser.navigate(stronger))["error"] == "login_required"


@pytest.mark.parametrize(
    ("parameters", "enough"),
    [
        ({}, True),
        ({"acr_values": "basic phr"}, True),
        ({"acr_values": "phr"}, False),
        ({"prompt": "login"}, False),
        ({"max_age": "60"}, True),
        ({"max_age": "59"}, False),
        ({"max_age": "0"}, False),
        ({"max_age": "nonsense"}, True),
    ],
)
def test_is_enough(parameters: dict[str, str], enough: bool) -> None:
    assert is_enough(SignIn("ana", 1000), MultiDict(parameters), now=1059.5) is enough


# --- signing out --------------------------------------------------------------------------------------------


async def test_end_session_returns_to_a_registered_uri(world: World) -> None:
    token = (await world.redeem((await world.sign_in())["code"])).json()["id_token"]
    query = {"id_token_hint": token, "post_logout_redirect_uri": SIGNED_OUT, "state": "z"}
    answer = await world.browser.navigate(str(URL(f"{world.issuer}/end-session").with_query(query)))
    assert answer.status == 303
    assert answer.location == f"{SIGNED_OUT}?state=z"
    silent = parameters_of(await world.browser.navigate(world.authorize_url(prompt="none")))
    assert silent["error"] == "login_required"


async def test_end_session_does_not_follow_strangers(world: World) -> None:
    await world.sign_in()
    query = {"client_id": "gate", "post_logout_redirect_uri": "http://evil.localhost/"}
    answer = await world.browser.navigate(str(URL(f"{world.issuer}/end-session").with_query(query)))
    assert answer.status == 200
    assert "Sign out of the demo provider?" in answer.text


async def test_pages_load_nothing_from_elsewhere(world: World) -> None:
    """The page is one file; what it may load and run is said by its policy."""
    page = await world.browser.navigate(world.authorize_url())
    assert page.status == 200
    assert "default-src 'none'" in page.header("content-security-policy")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.text)
