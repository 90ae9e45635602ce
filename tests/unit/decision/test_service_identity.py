"""A service identity is decided about in what-if as with its token, and is never taken for a person of its name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from compliance.model import Outcome, User
from gateway.config.given import read_given
from gateway.config.load import load_text
from gateway.decision.answers import record_of
from gateway.decision.explain import render
from gateway.decision.hypothetical import suppose
from gateway.decision.persons import person_identifiers
from gateway.decision.ticket import told_subject
from gateway.hub.runtime import make_runtime
from gateway.service_tokens.model import as_session, new_token
from tests.unit.decision.test_nearest import CONFIG

POLICIES = (
    "{name: builds, decision: allow, include: {services: [ci]}}",
    "{name: repair, decision: remediate, include: {groups: [staff]}}",
    "{name: alice-out, decision: block, include: {users: [alice]}}",
)
TOKEN, SECRET = new_token(
    service="alice",
    apps=("wiki",),
    life=timedelta(days=1),
    now=datetime(2026, 12, 1, tzinfo=UTC),
    by="uid 0",
    reason="test",
    random_bytes=bytes,
)


def test_it_is_in_no_group_and_that_is_known() -> None:
    text = CONFIG + "".join(f"    - {policy}\n" for policy in POLICIES)
    meaning = make_runtime(load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}).config, "")
    record = record_of(suppose(read_given("wiki", ["service=ci"], {}), meaning), meaning, "")
    assert (record.outcome, record.policy) == (Outcome.ALLOW, "builds")
    user = as_session(TOKEN).user
    assert (user.are_groups_known, user.are_roles_known) == (
        record.user.are_groups_known,
        record.user.are_roles_known,
    )
    assert "  service    ci\n  token      -\n" in render(record)


def test_no_sensor_and_no_app_takes_it_for_the_person_of_that_subject() -> None:
    service, person = (
        as_session(TOKEN).user,
        User(provider="idp", issuer="https://idp.corp.example", subject="alice"),
    )
    assert set(person_identifiers(service)).isdisjoint(person_identifiers(person))
    assert (told_subject(service), told_subject(person)) == ("service:alice", "alice")


def test_a_token_does_not_show_its_secret() -> None:
    assert SECRET not in repr(TOKEN)
    assert TOKEN.id == "gst_aaaaaaaaaaaa"
