"""Checks that concern several sections: unique names, addresses, who gets in at all."""

import re
from typing import Any
from urllib.parse import SplitResult

from compliance.model import AccessPolicy, CompliancePolicy, Mode, Outcome
from compliance.policy_tests import Never, PolicyTest
from gateway.config.checks.forms import is_bad_host, is_for_everyone, is_loopback, parse_listen, parse_url
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.locations import Network
from gateway.config.profiles import SessionProfile
from gateway.config.schema import App, Provider, Sensor, Server
from gateway.config.shared_signals import SignalReceiver, SignalSubscriber

MAX_NAME = 200
"""Longest name of a policy, a test or an assertion."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*\.?", re.ASCII)


def check_whole(checks: Checks) -> None:
    """Check what concerns several sections."""
    _unique_names(checks)
    _public_url(checks)
    _app_addresses(checks)
    providers = checks.decoder.nodes.get(("providers",))
    if providers is not None and not providers.value and checks.decoder.is_sound(("providers",)):
        checks.fault(Code.MISSING_KEY, ("providers",), "at least one provider is needed to sign in at")
    _who_gets_in(checks)


def _unique_names(checks: Checks) -> None:
    for kind, noun in (
        (Provider, "providers"),
        (App, "apps"),
        (Sensor, "sensors"),
        (SignalReceiver, "receivers"),
        (SignalSubscriber, "subscribers"),
        (Network, "networks"),
        (SessionProfile, "session profiles"),
        (CompliancePolicy, "compliance policies"),
        (AccessPolicy, "access policies"),
        (PolicyTest, "tests"),
        (Never, "assertions"),
    ):
        entries: list[tuple[KeyPath, Any]] = checks.all(kind)
        checks.unique([((*path, "name"), each.name) for path, each in entries], noun)
        for path, each in entries:
            if not each.name.strip():
                checks.fault(Code.FORM, (*path, "name"), "the name is empty", "such as `staff`")
            elif len(each.name) > MAX_NAME or not each.name.isprintable():
                hint = f"at most {MAX_NAME} characters on one line"
                checks.fault(Code.FORM, (*path, "name"), f"{shown(each.name)} is no name", hint)


def _public_url(checks: Checks) -> None:
    where = ("public_url",)
    public = checks.decoder.leaves.get(where)
    if not isinstance(public, str):
        return
    url = parse_url(public)
    if url is None or url.scheme not in {"http", "https"} or not url.hostname or url.username:
        hint = "the origin of the login host, such as `https://login.example.org`"
        checks.fault(Code.URL, where, f"{shown(public)} is no origin", hint)
        return
    if url.path or url.query or url.fragment:
        hint = f"did you mean `{url.scheme}://{url.netloc}`?"
        checks.fault(Code.URL, where, f"{shown(public)} is more than an origin", hint)
    if url.scheme == "http":
        _plain_public_url(checks, where, url)
    elif is_bad_host(url.hostname) or _HOST.fullmatch(url.hostname) is None or "*" in url.hostname:
        checks.fault(Code.HOST, where, f"{shown(url.hostname)} is not a host name")


def _plain_public_url(checks: Checks, where: KeyPath, url: SplitResult) -> None:
    """Plain http is for a demo on one machine: every address must be loopback."""
    server = next((server for _, server in checks.all(Server)), Server())
    listen = parse_listen(server.listen)
    hint = "https, or `http://login.localhost:8080` with a loopback listener for a demo"
    if not is_loopback(url.hostname or ""):
        checks.fault(Code.UNSAFE, where, "plain http would send session cookies in the clear", hint)
    elif server.tls is not None:
        checks.fault(Code.UNSAFE, where, "`public_url` is http but the listener speaks TLS", "https")
    elif listen is not None and not is_loopback(listen[0]):
        message = f"plain http needs a loopback listener, not {shown(server.listen)}"
        checks.fault(Code.UNSAFE, where, message, hint)
    else:
        for path, app in checks.all(App):
            if not is_loopback(app.host.removeprefix("*.")):
                message = f"{shown(app.host)} would get its cookie over plain http"
                checks.fault(Code.UNSAFE, (*path, "host"), message, "a host below `localhost`, or https")


def _app_addresses(checks: Checks) -> None:
    first: dict[tuple[str, str], tuple[KeyPath, App]] = {}
    for path, app in checks.all(App):
        address = (app.host.rstrip("."), app.path_prefix.rstrip("/"))
        if address in first:
            other = first[address][1].name
            message = f"`{app.name}` and `{other}` are both {shown(app.host + app.path_prefix)}"
            checks.fault(Code.ADDRESS_CLASH, (*path, "host"), message, "give them different `path_prefix`es")
        first.setdefault(address, (path, app))


def _who_gets_in(checks: Checks) -> None:
    policies = [policy for _, policy in checks.all(AccessPolicy) if policy.mode is Mode.ENFORCE]
    if not checks.decoder.is_sound(("access",)):
        return
    letting_in = [policy for policy in policies if policy.decision in {Outcome.ALLOW, Outcome.RESTRICT}]
    if not letting_in:
        message = "no access policy lets anybody in: every request will be blocked"
        where: KeyPath = ("access", "policies") if checks.decoder.is_given(("access",)) else ()
        checks.fault(Code.NOBODY_GETS_IN, where, message, "add one with `decision: allow`")
        return
    _limits_that_let_in(checks, letting_in)
    for path, app in checks.all(App):
        if not any(policy.covers(app.name) for policy in letting_in):
            message = f"no access policy lets anybody into `{app.name}`"
            checks.fault(Code.NOBODY_GETS_IN, path, message, "add one with `decision: allow`")


def _limits_that_let_in(checks: Checks, letting_in: list[AccessPolicy]) -> None:
    """Point at a `restrict` that covers everyone where others let in only some."""
    allows = [policy for policy in letting_in if policy.decision is Outcome.ALLOW]
    if not allows or any(is_for_everyone(policy) for policy in allows):
        return
    for path, policy in checks.all(AccessPolicy):
        if policy in letting_in and policy.decision is Outcome.RESTRICT and is_for_everyone(policy):
            message = f"`{policy.name}` lets in everyone who signs in, with limits"
            hint = "`restrict` lets in by itself: name whom it covers by `include`"
            checks.fault(Code.LENIENT, path, message, hint)
