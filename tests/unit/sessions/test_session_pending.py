"""What a browser keeps for us: return addresses, pending sign-ins, the loop counter, cookies."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oidc.authorize import Attempt, Wanted
from gateway.sessions import cookies
from gateway.sessions.pending import (
    LOOP_MOST,
    MAX_CARRIED_PATH,
    MAX_PENDING_TEXT,
    PendingLogin,
    ReturnTo,
    count_start,
    names_to_evict,
    open_pending,
    open_return,
    open_wanted,
    safe_path,
    seal_pending,
    seal_return,
    seal_wanted,
)
from gateway.sessions.seal import SealBroken, Sealer
from tests.op.gate import START

SEALER = Sealer([b"k" * 32])
TO = ReturnTo(
    scheme="https", host="app.corp.example", path="/a?b=c", made_at=1.5, binding="h" * 64, provider="corp",
    wanted=Wanted(acr_values=("mfa",), max_age_s=0),
)  # fmt: skip


def pending(at: float = 0.0, **changes: Any) -> PendingLogin:
    made = {"attempt": Attempt("s" * 43, "n" * 43, "v" * 43), "provider": "corp", "to": TO,
            "started_at": START.timestamp() + at, **changes}  # fmt: skip
    return PendingLogin(**made)


def test_sealed_values_come_back_and_do_not_mix() -> None:
    assert open_return(SEALER, seal_return(SEALER, TO)) == TO
    assert open_pending(SEALER, seal_pending(SEALER, pending(session="ses_1", restarts=1))) == pending(
        session="ses_1", restarts=1
    )
    assert open_wanted(SEALER, seal_wanted(SEALER, TO.wanted)) == TO.wanted
    with pytest.raises(SealBroken):
        open_pending(SEALER, seal_return(SEALER, TO))
    with pytest.raises(SealBroken):
        open_return(SEALER, seal_wanted(SEALER, TO.wanted))
    with pytest.raises(SealBroken):
        open_return(SEALER, SEALER.seal_text("return-to", b"{}"))


def test_the_longest_carried_address_fits_in_a_cookie() -> None:
    longest = msgspec.structs.replace(TO, path="/" + '"' * (MAX_CARRIED_PATH - 1), host="h" * 250)
    normal = msgspec.structs.replace(TO, path="/" + "x" * (MAX_CARRIED_PATH - 1))
    assert len(seal_pending(SEALER, pending(to=normal, session="ses_" + "x" * 22))) <= MAX_PENDING_TEXT
    assert len(seal_pending(SEALER, pending(to=longest))) > MAX_PENDING_TEXT, "then sign-in keeps it by id"


@given(st.text(max_size=40))
def test_safe_paths_are_paths(untrusted: str) -> None:
    """A5: the result is always one slash and printable ASCII, or just the slash."""
    path = safe_path(untrusted)
    assert path == "/" or (path == untrusted and path[0] == "/" and path[1] != "/")
    assert path.isascii()
    assert path.isprintable()
    assert "\\" not in path


@given(st.text(alphabet="/\\.:%09 evil@#?\t\n", max_size=12).map(lambda text: "/" + text))
def test_safe_paths_stay_on_the_host_as_browsers_see_it(untrusted: str) -> None:
    from yarl import URL

    joined = URL("https://app.corp.example/x").join(URL(safe_path(untrusted), encoded=True))
    assert joined.host == "app.corp.example"


def test_eviction() -> None:
    """A4: dead ones first, then the oldest; what is not ours goes too."""
    live = {f"n{n}": seal_pending(SEALER, pending(n)) for n in range(4)}
    assert names_to_evict(SEALER, live, START + timedelta(seconds=10)) == []
    five = {**live, "n4": seal_pending(SEALER, pending(4))}
    assert names_to_evict(SEALER, five, START + timedelta(seconds=10)) == ["n0"]
    odd = {**five, "bad": "x", "old": seal_pending(SEALER, pending(-4000))}
    assert sorted(names_to_evict(SEALER, odd, START)) == ["bad", "n0", "old"]


def test_loops_are_counted_per_address() -> None:
    """A7."""
    text: str | None = None
    for n in range(30):
        text, is_looping = count_start(SEALER, text, f"target-{n}", START)
        assert not is_looping
    for _ in range(LOOP_MOST):
        text, is_looping = count_start(SEALER, text, "one", START)
        assert not is_looping
    text, is_looping = count_start(SEALER, text, "one", START)
    assert is_looping
    assert len(text) < 2000
    _, is_looping = count_start(SEALER, text, "one", START + timedelta(seconds=31))
    assert not is_looping
    _, is_looping = count_start(SEALER, "forged", "one", START)
    assert not is_looping


def test_cookie_attributes() -> None:
    """G1."""
    assert cookies.set_cookie("gate", "v", is_secure=True, max_age_s=5) == (
        "__Host-gate=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=5"
    )
    assert cookies.set_cookie("gate", "v", is_secure=False) == "gate=v; Path=/; HttpOnly; SameSite=Lax"
    assert cookies.delete_cookie("gate", is_secure=True).endswith("Max-Age=0")


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        (["__Host-gate=v"], "v"),
        (["a=b; __Host-gate=v; c=d"], "v"),
        (["a=b", "__Host-gate=v"], "v"),
        (['__Host-gate="v"'], "v"),
        (["__Host-gate=v; __Host-gate=w"], "v"),
        (["x__Host-gate=v"], None),
        (["__Host-gatex=v"], None),
        (["gate=v"], None),
        (["__Host-gate"], None),
        ([], None),
        ([""], None),
        (["__host-gate=v"], None),
        (["a=__Host-gate=v"], None),
        (["; ".join(["a=b"] * 400) + "; __Host-gate=v"], None),
    ],
)
def test_finding_a_cookie(headers: list[str], value: str | None) -> None:
    assert cookies.find(headers, "gate", is_secure=True) == value


@given(st.lists(st.text(max_size=50), max_size=4))
def test_finding_never_raises(headers: list[str]) -> None:
    cookies.find(headers, "gate", is_secure=True)
    cookies.find_below(headers, "gate-login-", is_secure=False)


def test_finding_by_prefix() -> None:
    headers = ["__Host-gate-login-ab=1; __Host-gate=2; __Host-gate-login-cd=3"]
    assert cookies.find_below(headers, "gate-login-", is_secure=True) == {"ab": "1", "cd": "3"}
