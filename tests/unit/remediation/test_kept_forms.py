"""Forms are read within bounds, kept sealed for one person, and given back unchanged; on a real SQLite file."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hub import wording
from gateway.hub.pages import Pages
from gateway.remediation.form_store import SCHEMA, SqliteFormStore
from gateway.remediation.forms import KeptForm, Lost, NotKept, Typed, Upload, as_text, parse_urlencoded
from risk.database import Database
from tests.unit.hub.page_samples import context

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALICE, BOB = "https://op|alice", "https://op|bob"


def form(**changes) -> KeptForm:
    values = {
        "host": "notes.example",
        "target": "/save?x=1",
        "page": "/write",
        "app": "notes",
        "typed": Typed(fields=(("title", "Q3"), ("csrf", "t0ken"), ("text", "a\r\nb"))),
        "device": "dev_1",
        "kept_at": NOW,
        "expires_at": NOW + timedelta(minutes=30),
    }
    return KeptForm(**(values | changes))


@pytest.fixture
async def database(tmp_path):
    made = Database(tmp_path / "state.db", {"forms": SCHEMA})
    made.start()
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
def store(database):
    import os

    return SqliteFormStore(database, os.urandom)


LIMITS = {"per_user": 3, "most": 5}

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_fields_are_read_as_they_were_written(fields):
    assert parse_urlencoded(urlencode(fields).encode()).fields == tuple(fields)


@pytest.mark.parametrize("body", [b"a=%FF", "a=é".encode(), b"&".join([b"a=1"] * 1001)])
def test_what_is_no_form_in_utf_8_is_not_kept(body):
    with pytest.raises(NotKept) as refused:
        parse_urlencoded(body)
    assert refused.value.why is Lost.UNREADABLE


async def test_only_the_key_and_the_person_open_it(store):
    key = await store.keep(form(), ALICE, **LIMITS)
    assert await store.find(key, ALICE, NOW) == form()
    assert await store.find(key, BOB, NOW) is None
    other = ("A" if key[0] != "A" else "B") + key[1:]
    for wrong in (other, "", "x", key + "=", "é" * 43):
        assert await store.find(wrong, ALICE, NOW) is None


async def test_the_file_holds_nothing_that_can_be_read(store, tmp_path):
    key = await store.keep(form(typed=Typed(fields=(("title", "plain words of hers"),))), ALICE, **LIMITS)
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for text in (b"plain words", b"/save", b"alice", key.encode()):
        assert text not in raw


async def test_a_form_goes_when_its_time_is_over_and_when_it_is_thrown_away(store):
    key = await store.keep(form(), ALICE, **LIMITS)
    assert await store.find(key, ALICE, NOW + timedelta(minutes=30)) is None
    await store.drop(key, BOB)
    assert await store.find(key, ALICE, NOW) is not None
    await store.drop(key, ALICE)
    assert await store.find(key, ALICE, NOW) is None
    await store.keep(form(), ALICE, **LIMITS)
    assert await store.prune(NOW + timedelta(hours=1)) == 1


async def test_the_oldest_make_way(store):
    keys = [
        await store.keep(form(expires_at=NOW + timedelta(minutes=n)), ALICE, **LIMITS) for n in range(1, 5)
    ]
    assert await store.count_of(ALICE, NOW) == 3
    assert await store.find(keys[0], ALICE, NOW) is None
    for n in range(10, 14):
        await store.keep(form(expires_at=NOW + timedelta(minutes=n)), f"{BOB}{n}", **LIMITS)
    assert await store.count_of(ALICE, NOW) == 1


async def test_a_changed_row_opens_nothing(store, tmp_path):
    key = await store.keep(form(), ALICE, **LIMITS)
    with sqlite3.connect(tmp_path / "state.db") as other:
        other.execute("UPDATE remediation_form SET sealed = CAST(sealed || x'00' AS BLOB)")
    other.close()
    assert await store.find(key, ALICE, NOW) is None


def test_the_text_leaves_out_what_looks_like_a_secret():
    typed = form(
        typed=msgspec.structs.replace(form().typed, uploads=(Upload("file", "a.csv", 12),), is_multipart=True)
    )
    said = as_text(typed)
    assert "title:\nQ3" in said
    assert "a\nb" in said
    assert "a.csv" in said
    assert "t0ken" not in said


class _Inputs(HTMLParser):
    """Reads hidden fields as a browser does: character references become characters, line ends are normalised first."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html.replace("\r\n", "\n").replace("\r", "\n"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "input" and values.get("type") == "hidden":
            self.found.append((values["name"], values["value"]))


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_the_page_gives_every_character_back(fields):
    kept = form(typed=Typed(fields=tuple(fields)))
    view = wording.resume(context(), kept, "k" * 43)
    page = Pages().resume(view, scheme="https")
    if kept.typed.has_nul:
        assert not view.can_send
        assert "Send it now" not in page.text
    else:
        assert _Inputs(page.text).found == fields
    assert page.headers["Referrer-Policy"] == "strict-origin"
