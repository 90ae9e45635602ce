"""From claims to the user of policies (U3 to U5)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oidc.claims import MAX_GROUPS, UserRules, device_value, groups, lookup, user_of
from gateway.oidc.tokens import IdToken

AT = datetime(2026, 11, 22, tzinfo=UTC)
RULES = UserRules(provider="corp")


def token(**claims: Any) -> IdToken:
    return IdToken(
        issuer="https://idp.example",
        subject="u-1",
        expires_at=AT,
        issued_at=AT,
        claims={"sub": "u-1", **claims},
    )


@pytest.mark.parametrize(
    ("claims", "path", "found", "is_known"),
    [
        ({"groups": ["a", "b"]}, "groups", {"a", "b"}, True),
        ({"groups": "a"}, "groups", {"a"}, True),
        ({}, "groups", set(), True),
        ({"groups": []}, "groups", set(), True),
        ({"groups": None}, "groups", set(), True),
        ({"realm_access": {"roles": ["r"]}}, "realm_access.roles", {"r"}, True),
        ({"resource_access": {"my.app": {"roles": ["r"]}}}, "resource_access.my.app.roles", {"r"}, True),
        ({"cognito:groups": ["c"]}, "cognito:groups", {"c"}, True),
        ({"https://corp.example/roles": ["u"]}, "https://corp.example/roles", {"u"}, True),
        ({"a.b": ["dotted"], "a": {"b": ["nested"]}}, "a.b", {"dotted"}, True),
        ({"groups": {"a": 1}}, "groups", set(), False),
        ({"groups": 7}, "groups", set(), False),
        ({"groups": True}, "groups", set(), False),
        ({"groups": ["a", 1]}, "groups", {"a"}, False),
        ({"groups": ["a", "b\n"]}, "groups", {"a"}, False),
        ({"groups": ["a", "x" * 300]}, "groups", {"a"}, False),
        ({"groups": [str(n) for n in range(MAX_GROUPS + 1)]}, "groups", set(), False),
        (
            {
                "_claim_names": {"groups": "src1"},
                "_claim_sources": {"src1": {"endpoint": "http://169.254.169.254/"}},
            },
            "groups",
            set(),
            False,
        ),
        ({"_claim_names": {"groups": "src1"}, "groups": ["a"]}, "groups", set(), False),
        ({"hasgroups": True}, "groups", set(), False),
        ({"_claim_names": {"other": "src1"}}, "groups", set(), True),
    ],
)
def test_groups(claims: dict[str, Any], path: str, found: set[str], is_known: bool) -> None:
    """U4, U5: overage and what we cannot read mean unknown, never "in no group"."""
    assert groups(claims, path) == (frozenset(found), is_known)


@given(
    st.dictionaries(st.text(max_size=6), st.recursive(st.none() | st.text(max_size=3), st.lists)),
    st.text(max_size=20),
)
def test_lookup_never_raises(claims: dict[str, Any], path: str) -> None:
    lookup(claims, path)


@pytest.mark.parametrize(
    ("claims", "userinfo", "names"),
    [
        (
            {"email": "A@corp.example", "email_verified": True},
            None,
            {"u-1", "A@corp.example", "a@corp.example"},
        ),
        ({"email": "a@corp.example", "email_verified": "true"}, None, {"u-1", "a@corp.example"}),
        ({"email": "a@corp.example", "email_verified": False}, None, {"u-1"}),
        ({"email": "a@corp.example", "email_verified": "false"}, None, {"u-1"}),
        ({"email": "a@corp.example", "email_verified": 1}, None, {"u-1"}),
        ({"email": "a@corp.example"}, None, {"u-1"}),
        ({"email": "a@corp.example"}, {"email": "b@corp.example", "email_verified": True}, {"u-1"}),
        ({"email_verified": True}, {"email": "a@corp.example"}, {"u-1"}),
        ({}, {"email": "a@corp.example", "email_verified": True}, {"u-1", "a@corp.example"}),
        ({"email": "a b@corp.example", "email_verified": True}, None, {"u-1"}),
        ({"email": "x\r\nSet-Cookie: a@corp.example", "email_verified": True}, None, {"u-1"}),
        ({"email": ["a@corp.example"], "email_verified": True}, None, {"u-1"}),
        ({"preferred_username": "root", "upn": "root@corp.example"}, None, {"u-1"}),
    ],
)
def test_names(claims: dict[str, Any], userinfo: dict[str, Any] | None, names: set[str]) -> None:
    """U3: the subject names the user, an address only when it is verified, in the same breath."""
    assert user_of(token(**claims), userinfo, RULES).names == names


def test_unverified_addresses_by_choice() -> None:
    rules = UserRules(provider="corp", is_email_verification_required=False)
    assert user_of(token(email="a@corp.example"), None, rules).names == {"u-1", "a@corp.example"}


def test_the_id_token_wins_over_userinfo() -> None:
    user = user_of(
        token(name="Signed", groups=["a"]), {"name": "Other", "groups": ["b"], "sub": "u-1"}, RULES
    )
    assert (user.name, user.groups) == ("Signed", {"a"})


def test_missing_userinfo_makes_groups_unknown() -> None:
    """A provider that could not be asked did not say "no groups"."""
    assert not user_of(token(), None, RULES, is_userinfo_missing=True).are_groups_known
    assert user_of(token(groups=["a"]), None, RULES, is_userinfo_missing=True).are_groups_known


def test_roles_are_known_where_the_provider_tells_them() -> None:
    """Without `roles_claim` nobody's roles are known; never "has no role"."""
    assert not user_of(token(roles=["auditor"]), None, RULES).are_roles_known
    rules = UserRules(provider="corp", roles_claim="realm_access.roles")
    user = user_of(token(realm_access={"roles": ["auditor"]}), None, rules)
    assert (user.roles, user.are_roles_known) == ({"auditor"}, True)
    assert user_of(token(), None, rules).are_roles_known
    assert not user_of(token(), None, rules, is_userinfo_missing=True).are_roles_known
    assert not user_of(token(realm_access={"roles": 7}), None, rules).are_roles_known


def test_display_name() -> None:
    assert user_of(token(name="A\r\nB"), None, RULES).name == "AB"
    assert user_of(token(name=7, preferred_username="alice"), None, RULES).name == "alice"
    assert len(user_of(token(name="x" * 1000), None, RULES).name) == 256


def test_two_issuers_with_one_address_are_two_users() -> None:
    """U3: the key is issuer and subject."""
    one = user_of(token(email="a@corp.example", email_verified=True), None, RULES)
    other = IdToken(
        issuer="https://other.example", subject="u-1", expires_at=AT, issued_at=AT, claims={"sub": "u-1"}
    )
    assert (one.issuer, one.subject) != (user_of(other, None, RULES).issuer, "u-1")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("SER-1", "SER-1"),
        (" SER-1 ", "SER-1"),
        (["SER-1"], "SER-1"),
        (["a", "b"], None),
        (7, None),
        ("", None),
        ("a\nb", None),
        ("x" * 300, None),
        (None, None),
        ({}, None),
    ],
)
def test_device_values(value: Any, found: str | None) -> None:
    assert device_value({"d": {"id": value}}, "d.id") == found
