"""Sealing: what comes out is what went in, and nothing else ever comes out."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sessions.seal import MAX_SEALED, SealBroken, Sealer, SealKeyFault, key_file_of, load_or_make_key

SEALER = Sealer([b"k" * 32])


@given(st.binary(max_size=300), st.text(max_size=20), st.binary(max_size=20))
def test_opening_gives_it_back(plain: bytes, purpose: str, context: bytes) -> None:
    assert SEALER.open(purpose, SEALER.seal(purpose, plain, context), context) == plain
    assert SEALER.open_text(purpose, SEALER.seal_text(purpose, plain, context), context) == plain


def _steady() -> Sealer:
    """Return one that gives equal texts for equal inputs: what Hypothesis draws must not hang on chance."""
    return Sealer([b"0123456789abcdef"], random_bytes=bytes)


@given(st.binary(max_size=60), st.data())
def test_any_changed_bit_refuses(plain: bytes, data: st.DataObject) -> None:
    sealer = _steady()
    sealed = bytearray(sealer.seal("p", plain, b"c"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(SealBroken):
        sealer.open("p", bytes(sealed), b"c")


@given(st.binary(max_size=60), st.data())
def test_any_changed_character_refuses(plain: bytes, data: st.DataObject) -> None:
    """No two texts open to one value: the last character's unused bits count too."""
    sealer = _steady()
    text = sealer.seal_text("p", plain)
    at = data.draw(st.integers(0, len(text) - 1))
    sign = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ é\n").filter(
            lambda s: s != text[at]
        )
    )
    with pytest.raises(SealBroken):
        sealer.open_text("p", text[:at] + sign + text[at + 1 :])


@given(st.binary(max_size=100), st.text(max_size=100))
def test_whatever_is_not_ours_refuses(sealed: bytes, text: str) -> None:
    for attempt in (lambda: SEALER.open("p", sealed), lambda: SEALER.open_text("p", text)):
        with pytest.raises(SealBroken):
            attempt()


def test_purpose_context_and_key_all_count() -> None:
    sealed = SEALER.seal("p", b"x", b"c")
    for attempt in (
        lambda: SEALER.open("q", sealed, b"c"),
        lambda: SEALER.open("p", sealed, b"d"),
        lambda: SEALER.open("p", sealed),
        lambda: Sealer([b"o" * 32]).open("p", sealed, b"c"),
        lambda: SEALER.open("p", sealed[:-1], b"c"),
        lambda: SEALER.open("p", sealed + b"\0", b"c"),
        lambda: SEALER.open("p", b"\1" * (MAX_SEALED + 1)),
    ):
        with pytest.raises(SealBroken):
            attempt()


def test_rotation_opens_old_and_seals_new() -> None:
    old, new = Sealer([b"o" * 32]), Sealer([b"n" * 32, b"o" * 32])
    assert new.open("p", old.seal("p", b"x")) == b"x"
    with pytest.raises(SealBroken):
        old.open("p", new.seal("p", b"x"))
    assert Sealer([b"n" * 32]).open("p", new.seal("p", b"x")) == b"x"


def test_equal_values_look_different() -> None:
    assert SEALER.seal("p", b"x") != SEALER.seal("p", b"x")


@pytest.mark.parametrize("secrets", [[], [b""], [b"short"], [b"k" * 32, b"short"]])
def test_weak_secrets(secrets: list[bytes]) -> None:
    with pytest.raises(SealKeyFault):
        Sealer(secrets)


def test_many_purposes_stay_bounded() -> None:
    for n in range(500):
        assert SEALER.open(f"p{n}", SEALER.seal(f"p{n}", b"x")) == b"x"
    assert len(SEALER._ciphers) <= 64


def test_key_file(tmp_path: Path) -> None:
    """Made once, for the owner alone, and the same ever after; no draft is left behind."""
    path = key_file_of(tmp_path / "deep" / "state.db")
    key = load_or_make_key(path)
    assert len(key) == 32
    assert load_or_make_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["state.key"]


def test_key_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "state.key"
    for text in ("", "zz", "00" * 31, "é"):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(SealKeyFault):
            load_or_make_key(path)
    path.write_text("00" * 32)
    path.chmod(0o640)
    with pytest.raises(SealKeyFault, match="chmod 600"):
        load_or_make_key(path)
    path.chmod(0o600)
    assert load_or_make_key(path) == bytes(32)
    with pytest.raises(SealKeyFault):
        load_or_make_key(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SealKeyFault):
        load_or_make_key(tmp_path / "file" / "state.key")
