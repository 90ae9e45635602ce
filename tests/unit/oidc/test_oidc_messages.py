"""The authorization request and response, and signing out: golden URLs and refused answers (A*, C*, L*)."""

import base64
import hashlib
from urllib.parse import parse_qs, parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oidc.authorize import Attempt, Wanted, authorization_url, new_attempt
from gateway.oidc.callback import Callback, check_issuer, meaning_of_error, parse_callback
from gateway.oidc.discovery import ProviderMetadata
from gateway.oidc.faults import CallbackReason, CallbackRefused
from gateway.oidc.logout import end_session_url, is_our_return
from tests.op.gate import seeded

METADATA = ProviderMetadata(
    issuer="https://idp.example",
    authorization_endpoint="https://idp.example/authorize?tenant=7",
    token_endpoint="https://idp.example/token",
    jwks_uri="https://idp.example/jwks",
    end_session_endpoint="https://idp.example/end?x=1",
)
REDIRECT = "https://login.corp.example/.gate/callback"


def url(**kwargs):
    attempt = kwargs.pop("attempt", None) or new_attempt(seeded())
    defaults = {"client_id": "gate", "redirect_uri": REDIRECT, "scopes": ("openid", "profile")}
    return authorization_url(METADATA, attempt, **{**defaults, **kwargs})


def test_the_request_is_exactly_this() -> None:
    """A1, A2, A3: a golden URL."""
    attempt = Attempt(state="s" * 43, nonce="n" * 43, verifier="v" * 43)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).decode().rstrip("=")
    assert url(attempt=attempt) == (
        "https://idp.example/authorize?tenant=7&response_type=code&client_id=gate"
        "&redirect_uri=https%3A%2F%2Flogin.corp.example%2F.gate%2Fcallback&scope=openid+profile"
        f"&state={'s' * 43}&nonce={'n' * 43}&code_challenge={challenge}&code_challenge_method=S256"
    )


def test_openid_is_always_asked_for() -> None:
    asked = parse_qs(urlsplit(url(scopes=("email",))).query)
    assert asked["scope"] == ["openid email"]


def test_step_up_parameters() -> None:
    """A8, S2."""
    asked = parse_qs(
        urlsplit(url(wanted=Wanted(acr_values=("a", "b"), max_age_s=0), is_login_forced=True)).query
    )
    assert asked["acr_values"] == ["a b"]
    assert asked["max_age"] == ["0"]
    assert asked["prompt"] == ["login"]
    asked = parse_qs(urlsplit(url(hint_acr_values=("base",))).query)
    assert asked["acr_values"] == ["base"]
    assert "max_age" not in asked


def test_extra_parameters_cannot_replace_ours() -> None:
    """The configuration may add, never weaken."""
    evil = {
        "code_challenge_method": "plain",
        "state": "x",
        "nonce": "x",
        "redirect_uri": "https://evil",
        "hd": "corp.example",
    }
    plain, extended = (parse_qsl(urlsplit(url(extra=extra)).query) for extra in ({}, evil))
    assert set(extended) - set(plain) == {("hd", "corp.example")}
    assert len(extended) == len(plain) + 1


def test_attempts_are_fresh() -> None:
    """A3: 256 bits each, none equal to another."""
    random_bytes = seeded()
    attempts = [new_attempt(random_bytes) for _ in range(50)]
    texts = [text for each in attempts for text in (each.state, each.nonce, each.verifier)]
    assert len(set(texts)) == 150
    assert {len(text) for text in texts} == {43}
    with pytest.raises(ValueError, match="verifier"):
        url(attempt=Attempt("s", "n", "too short"))


def test_a_sound_answer() -> None:
    assert parse_callback("code=c%2F1&state=s&iss=https%3A%2F%2Fidp.example&session_state=x") == Callback(
        state="s", code="c/1", issuer="https://idp.example",
    )  # fmt: skip
    refused = parse_callback("error=access_denied&error_description=%3Cscript%3E&state=s")
    assert (refused.code, refused.error, refused.error_description) == (None, "access_denied", "<script>")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("code=a&code=b&state=s", CallbackReason.REPEATED_PARAMETER),
        ("code=a&state=s&state=s", CallbackReason.REPEATED_PARAMETER),
        ("code=a&state=s&x=1&x=2", CallbackReason.REPEATED_PARAMETER),
        ("code=a&error=b&state=s", CallbackReason.CODE_AND_ERROR),
        ("code=&error=b&state=s", CallbackReason.CODE_AND_ERROR),
        ("code=a", CallbackReason.STATE_MISSING),
        ("code=a&state=", CallbackReason.STATE_MISSING),
        ("", CallbackReason.STATE_MISSING),
        ("state=s", CallbackReason.NEITHER_CODE_NOR_ERROR),
        ("code=&state=s", CallbackReason.NEITHER_CODE_NOR_ERROR),
        ("code=%ff&state=s", CallbackReason.MALFORMED),
        ("code=a%0ab&state=s", CallbackReason.MALFORMED),
        ("code=a&state=s%00", CallbackReason.MALFORMED),
        ("state=s&" + "&".join(f"a{n}=1" for n in range(40)), CallbackReason.MALFORMED),
        ("state=s&code=" + "a" * 9000, CallbackReason.TOO_LARGE),
    ],
)
def test_answers_of_unsound_form(query: str, reason: CallbackReason) -> None:
    """C1, C3."""
    with pytest.raises(CallbackRefused) as caught:
        parse_callback(query)
    assert caught.value.reason is reason


@given(st.text(max_size=200))
def test_no_query_raises_anything_else(query: str) -> None:
    try:
        parse_callback(query)
    except CallbackRefused:
        return


@pytest.mark.parametrize("is_promised", [True, False])
def test_the_issuer_of_the_answer(is_promised: bool) -> None:
    """C2: exact, on errors too; missing is fatal only when the provider promises to send it."""
    metadata = msgspec.structs.replace(METADATA, is_issuer_in_response=is_promised)
    for error in (None, "access_denied"):
        code = None if error else "c"
        check_issuer(Callback(state="s", code=code, error=error, issuer="https://idp.example"), metadata)
        for wrong in ("https://idp.example/", "https%3A%2F%2Fidp.example", "", "HTTPS://idp.example"):
            with pytest.raises(CallbackRefused) as caught:
                check_issuer(Callback(state="s", code=code, error=error, issuer=wrong), metadata)
            assert caught.value.reason is CallbackReason.ISSUER_MISMATCH
        missing = Callback(state="s", code=code, error=error)
        if is_promised:
            with pytest.raises(CallbackRefused):
                check_issuer(missing, metadata)
        else:
            check_issuer(missing, metadata)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("access_denied", 403),
        ("login_required", 401),
        ("interaction_required", 401),
        ("consent_required", 403),
        ("account_selection_required", 401),
        ("invalid_request", 500),
        ("invalid_scope", 500),
        ("unauthorized_client", 500),
        ("unsupported_response_type", 500),
        ("server_error", 502),
        ("temporarily_unavailable", 503),
        ("unmet_authentication_requirements", 403),
        ("something_new", 502),
    ],
)
def test_each_error_has_a_meaning(error: str, status: int) -> None:
    """C4."""
    meaning = meaning_of_error(error)
    assert meaning.status == status
    assert meaning.title
    assert meaning.text


def test_end_session() -> None:
    """L1, L4: a golden URL, and nothing without an endpoint."""
    back = "https://login.corp.example/.gate/signed-out"
    assert end_session_url(
        METADATA, client_id="gate", id_token_hint="a.b.c", post_logout_redirect_uri=back, state="s",
    ) == (
        "https://idp.example/end?x=1&id_token_hint=a.b.c&client_id=gate"
        "&post_logout_redirect_uri=https%3A%2F%2Flogin.corp.example%2F.gate%2Fsigned-out&state=s"
    )  # fmt: skip
    without = msgspec.structs.replace(METADATA, end_session_endpoint=None)
    assert (
        end_session_url(
            without, client_id="gate", id_token_hint=None, post_logout_redirect_uri=back, state="s"
        )
        is None
    )


@pytest.mark.parametrize(
    ("returned", "sent", "is_ours"),
    [
        ("a", "a", True),
        (None, None, True),
        ("a", "b", False),
        (None, "a", False),
        ("a", None, False),
        ("é", "a", False),
    ],
)
def test_the_state_of_a_return(returned: str | None, sent: str | None, is_ours: bool) -> None:
    """L2: absent is fine only when none was sent."""
    assert is_our_return(returned, sent) is is_ours
