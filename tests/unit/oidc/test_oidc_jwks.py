"""Keys: which entries of a set count, and a cache that asks seldom and forgets in time (K1 to K6)."""

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.oidc.faults import ProviderFault, ProviderReason
from gateway.oidc.jwks import (
    FORCED_BURST,
    FORCED_INTERVAL_S,
    KEEP_S,
    MAX_KEYS,
    RETRY_INTERVAL_S,
    FetchedKeys,
    KeyCache,
    KeySet,
    parse_key_set,
)
from tests.op.stub import EC_1, ED_1, RSA_1, jwk


def parsed(*members: Any) -> KeySet:
    return parse_key_set(json.dumps({"keys": list(members)}).encode())


def test_usable_keys_of_a_mixed_set() -> None:
    """K5: what cannot be used is left out, and the rest still counts."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - weak on purpose
    odd_curve = ec.generate_private_key(ec.SECP256K1())
    private = json.loads(json.dumps({**jwk(EC_1, "private"), "d": "AAAA"}))
    kept = parsed(
        jwk(RSA_1, "rsa"),
        jwk(EC_1, "ec"),
        jwk(ED_1, "ed"),
        jwk(RSA_1, "enc", use="enc"),
        jwk(RSA_1, "ops", key_ops=["encrypt"]),
        jwk(RSA_1, "ops-text", key_ops="verify"),
        jwk(weak, "weak"),
        jwk(odd_curve, "odd"),
        private,
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "XYZ", "kid": "x"},
        {"kty": "RSA", "kid": "empty"},
        {"kty": "RSA", "n": 1, "e": []},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519"},
        {"kty": ["RSA"]},
        jwk(RSA_1, "k" * 300),
        {**jwk(RSA_1, "a"), "kid": 7},
        {**jwk(RSA_1, "b"), "alg": 7},
        "text",
        None,
        7,
        [],
    )
    assert [key.key_id for key in kept.keys] == ["rsa", "ec", "ed"]


def test_keys_fit_their_algorithms_only() -> None:
    """V4: type, curve and the key's own `alg`."""
    keys = parsed(jwk(RSA_1, "rsa"), jwk(EC_1, "ec"), jwk(ED_1, "ed"), jwk(RSA_1, "ps-only", alg="PS256"))

    def names(algorithm: str) -> list[str | None]:
        return [key.key_id for key in keys.candidates(algorithm, None)]

    assert names("RS256") == ["rsa"]
    assert names("PS256") == ["rsa", "ps-only"]
    assert names("ES256") == ["ec"]
    assert names("ES384") == []
    assert names("EdDSA") == names("Ed25519") == ["ed"]
    assert names("HS256") == []
    assert [key.key_id for key in keys.candidates("RS256", "ec")] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_key_set(body: bytes) -> None:
    with pytest.raises(ProviderFault) as caught:
        parse_key_set(body)
    assert caught.value.reason is ProviderReason.KEYS_MALFORMED


class Source:
    """Fetches what the test has put there, counts, and waits when told to."""

    def __init__(self) -> None:
        self.at = 0.0
        self.calls = 0
        self.answer: FetchedKeys | ProviderFault = FetchedKeys(parsed(jwk(RSA_1, "a")))
        self.gate: asyncio.Event | None = None
        self.cache = KeyCache(self.fetch, lambda: self.at)

    async def fetch(self) -> FetchedKeys:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, ProviderFault):
            raise self.answer
        return self.answer

    def put(self, key_id: str, cache_control: str = "") -> None:
        self.answer = FetchedKeys(parsed(jwk(RSA_1, key_id)), cache_control)

    def fail(self) -> None:
        self.answer = ProviderFault(ProviderReason.UNREACHABLE, "down")


async def ids(source: Source) -> list[str | None]:
    return [key.key_id for key in (await source.cache.current()).keys]


async def test_a_thousand_logins_are_one_fetch() -> None:
    """K1, and single flight: those that come while the first fetch runs wait for it."""
    source = Source()
    source.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(source.cache.current()) for _ in range(1000)]
    await asyncio.sleep(0)
    source.gate.set()
    results = await asyncio.gather(*waiting)
    assert source.calls == 1
    assert all(each is results[0] for each in results)
    assert await ids(source) == ["a"]
    assert source.calls == 1


@pytest.mark.parametrize(
    ("cache_control", "lives"),
    [
        ("", 3600),
        ("max-age=600", 600),
        ("public, max-age=5", 300),
        ("max-age=9999999", 86400),
        ("no-store", 300),
    ],
)
async def test_ttl_from_cache_control(cache_control: str, lives: int) -> None:
    """K1: clamped on both sides."""
    source = Source()
    source.put("a", cache_control)
    await source.cache.current()
    source.at = lives - 1
    await source.cache.current()
    assert source.calls == 1
    source.at = lives
    await source.cache.current()
    assert source.calls == 2


async def test_unknown_kid_refetches_once_per_interval() -> None:
    """K2: a rotation just before signing is seen at once; a flood of forged ids is one fetch."""
    source = Source()
    keys = await source.cache.current()
    source.put("b")
    fresher = await source.cache.refresh(keys)
    assert fresher is not None
    assert [key.key_id for key in fresher.keys] == ["b"]
    assert source.calls == 2
    assert await source.cache.refresh(keys) is fresher, (
        "whoever still holds the old set gets the newer one for free"
    )
    for _ in range(1000):
        await source.cache.refresh(await source.cache.current())
    assert source.calls == 1 + FORCED_BURST
    source.at = FORCED_INTERVAL_S
    await source.cache.refresh(await source.cache.current())
    await source.cache.refresh(await source.cache.current())
    assert source.calls == 2 + FORCED_BURST


async def test_a_second_rotation_right_after_the_first_is_seen() -> None:
    """Also when somebody's forged token has asked for a fetch between the two."""
    source = Source()
    keys = await source.cache.current()
    for name in ("b", "c"):
        source.put(name)
        fresher = await source.cache.refresh(keys)
        assert fresher is not None
        assert [key.key_id for key in fresher.keys] == [name]
        keys = fresher


async def test_forced_fetches_share_one_flight() -> None:
    source = Source()
    keys = await source.cache.current()
    source.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(source.cache.refresh(keys)) for _ in range(100)]
    await asyncio.sleep(0)
    source.put("b")
    source.gate.set()
    await asyncio.gather(*waiting)
    assert source.calls == 2


async def test_withdrawn_keys_are_gone() -> None:
    """K4: what a successful fetch no longer lists does not verify any more."""
    source = Source()
    assert await ids(source) == ["a"]
    source.put("b")
    source.at = 3600
    assert await ids(source) == ["b"]


async def test_the_last_set_serves_a_bounded_time_while_fetching_fails() -> None:
    """K4: one failed fetch empties nothing; retries keep their distance; in the end there is an error."""
    source = Source()
    await source.cache.current()
    source.fail()
    source.at = 3600
    assert await ids(source) == ["a"]
    assert await ids(source) == ["a"]
    assert source.calls == 2
    source.at += RETRY_INTERVAL_S
    assert await ids(source) == ["a"]
    assert source.calls == 3
    source.at = 3600 + KEEP_S
    with pytest.raises(ProviderFault) as caught:
        await source.cache.current()
    assert caught.value.reason is ProviderReason.UNREACHABLE
    source.put("b")
    source.at += RETRY_INTERVAL_S
    assert await ids(source) == ["b"]


async def test_a_caller_that_goes_away_leaves_the_fetch_to_the_others() -> None:
    source = Source()
    source.gate = asyncio.Event()
    impatient, patient = (asyncio.ensure_future(source.cache.current()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    source.gate.set()
    assert len((await patient).keys) == 1
    assert source.calls == 1
