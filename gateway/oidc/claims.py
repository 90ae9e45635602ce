"""From a provider's claims to the user that policies speak of (rules U3 to U5) and to device claims. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from compliance.model import User
from gateway.oidc.tokens import IdToken

MAX_GROUPS = 5000
MAX_GROUP = 256
MAX_NAME = 256
MAX_EMAIL = 320
MAX_DEVICE_VALUE = 256
MAX_PATH_PARTS = 10
MAX_KEPT_VALUES = 100
MAX_KEPT_TEXT = 256

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,255}\Z")
_MISSING = object()


class UserRules(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider's claims name a user: the part of its configuration that this module needs."""

    provider: str
    groups_claim: str = "groups"
    roles_claim: str = ""
    keep_claims: tuple[str, ...] = ()
    is_email_verification_required: bool = True


def lookup(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim at a dotted path, None when there is none. A name that itself has dots wins.

    >>> lookup({"realm_access": {"roles": ["a"]}}, "realm_access.roles")
    ['a']
    >>> lookup({"https://corp.example/roles": ["b"], "https://corp": {}}, "https://corp.example/roles")
    ['b']
    """
    found = _find(claims, path.split("."))
    return None if found is _MISSING else found


def has_claim(claims: Mapping[str, Any], path: str) -> bool:
    """Return whether the provider said anything at this path, or said that it holds it back (overage)."""
    return lookup(claims, path) is not None or _is_overage(claims, path)


def groups(claims: Mapping[str, Any], path: str) -> tuple[frozenset[str], bool]:
    """Return the groups and whether they are all known (U4, U5).

    A list of texts or one text; without the claim there are none, and that is known. Anything else, too much,
    or an overage marker (`_claim_names`, `hasgroups`) makes the groups unknown: absence must not read as "in
    no group".
    """
    if _is_overage(claims, path):
        return frozenset(), False
    value = lookup(claims, path)
    if value is None:
        return frozenset(), True
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > MAX_GROUPS:
        return frozenset(), False
    readable = [
        item for item in value if isinstance(item, str) and 0 < len(item) <= MAX_GROUP and item.isprintable()
    ]
    return frozenset(readable), len(readable) == len(value)


def user_of(
    token: IdToken,
    userinfo: Mapping[str, Any] | None,
    rules: UserRules,
    *,
    is_userinfo_missing: bool = False,
) -> User:
    """Return the user of a verified ID token. Its claims win over those of `userinfo`.

    `is_userinfo_missing` says that the userinfo endpoint had to be asked and did not answer: then groups that
    the ID token does not hold are unknown. `names` has the e-mail address only when it is verified, or the
    rules waive that; address and verification are taken from the same source.
    """
    sources = (token.claims, userinfo or {})
    merged = merged_claims(token, userinfo)
    names, are_groups_known = groups(merged, rules.groups_claim)
    if is_userinfo_missing and not has_claim(token.claims, rules.groups_claim):
        are_groups_known = False
    roles, are_roles_known = (
        groups(merged, rules.roles_claim) if rules.roles_claim else (frozenset[str](), False)
    )
    if is_userinfo_missing and not has_claim(token.claims, rules.roles_claim):
        are_roles_known = False
    email, is_verified = _email(sources)
    texts = {token.subject}
    if email and (is_verified or not rules.is_email_verification_required):
        texts |= {email, email.lower()}
    return User(
        provider=rules.provider,
        issuer=token.issuer,
        subject=token.subject,
        name=_display_name(merged),
        email=email,
        names=frozenset(texts),
        groups=names,
        are_groups_known=are_groups_known,
        roles=roles,
        are_roles_known=are_roles_known,
        acr=token.acr,
        amr=token.amr,
        auth_at=token.auth_at,
        claims=kept_claims(merged, rules.keep_claims),
    )


def kept_claims(claims: Mapping[str, Any], paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of the claims at these paths, as texts; absent ones and those that are no scalars are left out.

    >>> kept_claims({"dept": "it", "levels": [1, 2], "ok": True, "x": {}}, ("dept", "levels", "ok", "x", "none"))
    {'dept': ('it',), 'levels': ('1', '2'), 'ok': ('true',)}
    """
    kept: dict[str, tuple[str, ...]] = {}
    for path in paths:
        value = lookup(claims, path)
        values = value if isinstance(value, list) else [value]
        texts = [_claim_text(each) for each in values[:MAX_KEPT_VALUES]]
        if value is not None and all(text is not None for text in texts):
            kept[path] = tuple(text for text in texts if text is not None)
    return kept


def _claim_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and len(value) <= MAX_KEPT_TEXT and value.isprintable():
        return value
    return None


def merged_claims(token: IdToken, userinfo: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return all claims; where both sources speak, the signed ID token wins."""
    return {**(userinfo or {}), **token.claims}


def device_value(claims: Mapping[str, Any], path: str) -> str | None:
    """Return the device identifier at `path`: one printable text, or a list of exactly one. Else None."""
    value = lookup(claims, path)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str) or not value.isprintable():
        return None
    text = value.strip()
    return text if 0 < len(text) <= MAX_DEVICE_VALUE else None


def _find(value: Any, parts: list[str]) -> Any:
    if not parts:
        return value
    if not isinstance(value, Mapping) or len(parts) > MAX_PATH_PARTS:
        return _MISSING
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in value and (found := _find(value[name], parts[length:])) is not _MISSING:
            return found
    return _MISSING


def _is_overage(claims: Mapping[str, Any], path: str) -> bool:
    if claims.get("hasgroups") in (True, "true"):
        return True
    elsewhere = claims.get("_claim_names")
    return isinstance(elsewhere, Mapping) and (
        path in elsewhere or path.split(".", maxsplit=1)[0] in elsewhere
    )


def _email(sources: tuple[Mapping[str, Any], ...]) -> tuple[str, bool]:
    for claims in sources:
        email = claims.get("email")
        if isinstance(email, str) and len(email) <= MAX_EMAIL and _EMAIL.match(email) and email.isprintable():
            # Some providers send the texts "true" and "false".
            verified = claims.get("email_verified")
            return email, verified is True or verified == "true"
    return "", False


def _display_name(claims: Mapping[str, Any]) -> str:
    for name in ("name", "preferred_username"):
        value = claims.get(name)
        if isinstance(value, str):
            text = "".join(character for character in value if character.isprintable()).strip()
            if text:
                return text[:MAX_NAME]
    return ""
