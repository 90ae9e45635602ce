"""Whatever bytes a sensor sends: a defined refusal, a dead letter, or bounded signals; all of it or nothing.

`make fuzz` searches the same target for longer, guided by coverage.
"""

import contextlib
import gzip
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.sensors import installed
from plugins.payload import MAX_ITEMS, PayloadFault, parse_payloads
from tests.fuzz.mutate import damaged, damaged_text, words_of
from tests.fuzz.target import BODY_BYTES, Target, inflate

CATALOG = installed()
SAMPLES = {kind: [sample.payload for sample in CATALOG.sensor(kind).samples] for kind in CATALOG.kinds}
ANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=CATALOG.kinds)
def target(request):
    made = Target(request.param, CATALOG)
    yield made
    made.close()


def test_damaged_samples(target):
    samples = SAMPLES[target.facade.kind]
    words = words_of(samples)
    dice = random.Random(target.facade.kind)  # noqa: S311 - not for secrets
    for _ in range(400):
        target.run(json.dumps(damaged(dice.choice(samples), dice, words)).encode())


def test_damaged_texts(target):
    samples = [json.dumps(each).encode() for each in SAMPLES[target.facade.kind]]
    dice = random.Random(target.facade.kind)  # noqa: S311 - not for secrets
    for _ in range(300):
        target.run(damaged_text(dice.choice(samples), dice))


@ANY
@given(
    body=st.binary(max_size=400)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes(body):
    with contextlib.suppress(PayloadFault):
        assert isinstance(parse_payloads(body), list)


def test_many_payloads_of_other_products(target):
    """A sensor of the wrong kind is the commonest mistake of all."""
    everything = [payload for kind, payloads in sorted(SAMPLES.items()) for payload in payloads]
    lines = b"\n".join(json.dumps(payload).encode() for payload in everything)
    target.run(lines)
    target.run(json.dumps(everything).encode())


HOSTILE = {
    "deep": b"[" * 100_000,
    "deep-objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "huge-number": b'{"a": 1e400}',
    "many-digits": b'{"a": ' + b"9" * 100_000 + b"}",
    "nan": b'{"a": NaN}',
    "infinity": b"[-Infinity]",
    "twice": b'{"a": 1, "a": 2}',
    "twice-below": b'{"x": [{"a": 1, "\\u0061": 2}]}',
    "not-utf8": b'{"a": "\xff\xfe"}',
    "surrogate": b'{"a": "\\ud800"}',
    "surrogate-key": b'{"\\udc00": 1}',
    "surrogate-bytes": b'"\xed\xa0\x80"',
    "cut": b'{"a": ',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "many-keys": json.dumps({str(n): n for n in range(5000)}).encode(),
    "many-items": b"[" + b"{}," * MAX_ITEMS + b"{}]",
    "many-lines": b"{}\n" * (MAX_ITEMS + 1),
    "many-values": json.dumps([[0] * 500 for _ in range(999)]).encode(),
    "empty": b"",
    "blank": b" \n\r\t ",
    "comment": b"{} // nothing",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies_are_refused_with_a_code(target, body):
    assert "accepted" not in target.run(body)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"0" * (64 * BODY_BYTES)),
        gzip.compress(gzip.compress(b"0" * BODY_BYTES) * 50),
        b"".join(gzip.compress(b"0" * 1000) for _ in range(3000)),
        gzip.compress(b"{}")[:-5],
        gzip.compress(b"{}") + b"garbage",
        b"\x1f\x8b" + b"\x00" * 100,
        b"\x1f\x8b",
    ],
    ids=["bomb", "bomb-in-bomb", "many-members", "cut-off", "garbage-after", "no-gzip", "magic-alone"],
)
def test_compressed_bodies_are_bounded(body):
    assert (
        inflate(body) in {"body-too-large", "body-not-gzip", "body-cut-off"}
        or int(inflate(body).split()[0]) <= BODY_BYTES
    )


@ANY
@given(body=st.binary(max_size=300), kept=st.integers(0, 300), is_after=st.booleans())
def test_damaged_compressed_bodies(body, kept, is_after):
    packed = gzip.compress(body)
    inflate(packed + body if is_after else packed[:kept] + body)
