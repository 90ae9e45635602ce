"""Who sent a delivery: vectors of our own, and the `standardwebhooks` package as a sender."""

import base64
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from plugins.verify import (
    BasicVerifier,
    BearerVerifier,
    HmacVerifier,
    StandardWebhooksVerifier,
    VerifyCode,
    VerifyFault,
    parse_message,
    parse_public_key,
    parse_signing_secret,
    sign,
)
from risk.values import Secret

KEY = b"posturegate-example-secret-32byt"
SECRET = Secret("whsec_" + base64.b64encode(KEY).decode())
NEXT = Secret("whsec_" + base64.b64encode(b"another-example-secret-of-32-byt").decode())
BODY = b'{"event": "posture",  "n": 1.0, "t": "\\u00e9"}'
SENT_AT = 1_772_366_400
VECTOR = {
    "webhook-id": "msg_2ZkDf9",
    "webhook-timestamp": "1772366400",
    "webhook-signature": "v1,yYcNopYK3yuiNBxxubOkQw8Ym7cXT3Bw1QfQDQx/0xI=",
}


def fields(headers):
    return list(headers.items())


def verified(headers, body=BODY, now=SENT_AT, secrets=(SECRET,)):
    return StandardWebhooksVerifier(secrets).verify(headers, body, now)


def code(headers, **rest):
    with pytest.raises(VerifyFault) as caught:
        verified(headers, **rest)
    return caught.value.code


def test_a_fixed_vector():
    """Computed with `openssl dgst -sha256 -hmac KEY -binary | base64` over `id.timestamp.body`."""
    assert verified(fields(VECTOR)).message_id == "msg_2ZkDf9"


def test_the_reference_sender_is_understood():
    body = '{"a": "é"}'
    signature = Webhook(SECRET.reveal()).sign(
        "msg_1", datetime.fromtimestamp(SENT_AT, UTC).replace(tzinfo=None), body
    )
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(SENT_AT), "Webhook-Signature": signature}
    assert verified(fields(headers), body.encode()).secret == 0


def test_our_sender_is_understood_by_the_reference_receiver():
    now = int(datetime.now(UTC).timestamp())
    Webhook(SECRET.reveal()).verify(b'{"a": 1}', dict(sign(KEY, "msg_1", now, b'{"a": 1}')))


def test_the_bytes_count_and_not_what_they_mean():
    assert code(fields(VECTOR), body=BODY.replace(b"  ", b" ")) is VerifyCode.MISMATCH
    assert code(fields(VECTOR), body=BODY.replace(b"posture", b"Posture")) is VerifyCode.MISMATCH


@pytest.mark.parametrize("secrets", [(SECRET, NEXT), (NEXT, SECRET)])
def test_two_secrets_live_while_rotating(secrets):
    assert verified(fields(VECTOR), secrets=secrets).secret == secrets.index(SECRET)
    assert code(fields(VECTOR), secrets=(NEXT,)) is VerifyCode.MISMATCH


def test_any_signature_of_the_list_is_enough_and_other_versions_are_skipped():
    good = VECTOR["webhook-signature"]
    for listed in (f"v1a,AAAA {good}", f"v1,AAAA {good}", f"{good} v1,%%%", f"v2,x v1 , {good}"):
        assert verified(fields(VECTOR | {"webhook-signature": listed}))
    flood = " ".join(["v1,AAAA"] * 50 + [good])
    assert code(fields(VECTOR | {"webhook-signature": flood})) is VerifyCode.MISMATCH


@pytest.mark.parametrize(("off", "accepted"), [(299, True), (300, True), (301, False)])
@pytest.mark.parametrize("direction", [1, -1])
def test_the_clock_may_be_off_by_the_tolerance(off, accepted, direction):
    now = SENT_AT + direction * off
    if accepted:
        assert verified(fields(VECTOR), now=now)
    else:
        assert code(fields(VECTOR), now=now) is VerifyCode.CLOCK


def test_a_stranger_is_not_told_about_the_clock():
    assert code(fields(VECTOR), body=b"x", now=SENT_AT + 9999) is VerifyCode.MISMATCH


@pytest.mark.parametrize("name", list(VECTOR))
def test_each_header_must_be_there_once(name):
    assert code([each for each in fields(VECTOR) if each[0] != name]) is VerifyCode.MISSING
    assert code([*fields(VECTOR), (name.upper(), VECTOR[name])]) is VerifyCode.REPEATED
    assert code([*fields(VECTOR), (name.replace("-", "_"), VECTOR[name])]) is VerifyCode.REPEATED
    underscored = [
        (each.replace("-", "_") if each == name else each, value) for each, value in fields(VECTOR)
    ]
    assert code(underscored) is VerifyCode.REPEATED


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-timestamp": "1772366400.5"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "x"},
        {"webhook-timestamp": "1" * 40},
        {"webhook-timestamp": "\u0661"},
        {"webhook-id": ""},
        {"webhook-id": "a b"},
        {"webhook-id": "x" * 300},
        {"webhook-id": "é"},
    ],
)
def test_unreadable_headers(change):
    assert code(fields(VECTOR | change)) is VerifyCode.UNREADABLE


@pytest.mark.parametrize(
    ("change", "body", "late_s", "says"),
    [
        ({}, BODY + b" ", 0, "the body was changed after it was signed"),
        ({"webhook-signature": VECTOR["webhook-signature"].removeprefix("v1,")}, BODY, 0, "`v1,`"),
        ({"webhook-timestamp": f"{SENT_AT}000"}, BODY, 0, "`webhook-timestamp` is no unix time in seconds"),
        ({"webhook-id": "a b"}, BODY, 0, "`webhook-id` is unreadable"),
        ({}, BODY, 600, "600 s in the past, at most 300 s are accepted: a clock is wrong"),
        ({}, BODY, -600, "600 s in the future, at most 300 s are accepted: a clock is wrong"),
    ],
)
def test_a_fault_says_where_to_look(change, body, late_s, says):
    with pytest.raises(VerifyFault, match=re.escape(says)):
        verified(fields(VECTOR | change), body, now=SENT_AT + late_s)


@given(
    st.lists(st.tuples(st.sampled_from([*VECTOR, "other"]), st.text(max_size=40)), max_size=6),
    st.binary(max_size=40),
)
def test_nothing_that_is_sent_raises_anything_else(headers, body):
    with pytest.raises(VerifyFault):
        verified(headers, body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_%%%",
        KEY.decode(),
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_secrets_that_are_refused(text):
    with pytest.raises(ValueError, match="secret") as caught:
        parse_signing_secret(Secret(text))
    assert not text or text == "whsec_" or text not in str(caught.value)


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_of_24_to_64_bytes_are_fine_with_and_without_padding(length):
    text = "whsec_" + base64.b64encode(b"x" * length).decode()
    assert parse_signing_secret(Secret(text)) == b"x" * length
    assert parse_signing_secret(Secret(text.rstrip("="))) == b"x" * length


def test_one_or_two_secrets_are_needed():
    for count in (0, 3):
        with pytest.raises(ValueError, match="one or two"):
            StandardWebhooksVerifier([SECRET] * count)
        with pytest.raises(ValueError, match="one or two"):
            BearerVerifier([Secret("x" * 20)] * count)


BEARER = BearerVerifier([Secret("first-secret-0123456789"), Secret("second-secret-0123456789")])


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("Bearer first-secret-0123456789", 0),
        ("bearer second-secret-0123456789 ", 1),
        ("BEARER  first-secret-0123456789", 0),
    ],
)
def test_bearer(value, position):
    assert BEARER.verify([("authorization", value)], b"", 0).secret == position


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], VerifyCode.MISSING),
        ([("authorization", "Basic first-secret-0123456789")], VerifyCode.UNREADABLE),
        ([("authorization", "first-secret-0123456789")], VerifyCode.UNREADABLE),
        ([("authorization", "Bearer ")], VerifyCode.MISMATCH),
        ([("authorization", "Bearer first-secret-012345678")], VerifyCode.MISMATCH),
        ([("authorization", "Bearer \udcff")], VerifyCode.MISMATCH),
        ([("authorization", "Bearer first-secret-0123456789")] * 2, VerifyCode.REPEATED),
    ],
)
def test_bearer_refusals(headers, expected):
    with pytest.raises(VerifyFault) as caught:
        BEARER.verify(headers, b"", 0)
    assert caught.value.code is expected
    assert "0123456789" not in str(caught.value)


def test_a_secret_in_a_header_of_its_own():
    verifier = BearerVerifier([Secret("first-secret-0123456789")], "X-Sensor-Key")
    assert verifier.verify([("X-SENSOR-KEY", "first-secret-0123456789")], b"", 0)
    with pytest.raises(VerifyFault):
        verifier.verify([("X-Sensor-Key", "Bearer first-secret-0123456789")], b"", 0)


@pytest.mark.parametrize("text", ["short", "has a space in it....", "not-ascii-é-0123456789", ""])
def test_bearer_secrets_that_are_refused(text):
    with pytest.raises(ValueError, match="bearer secret"):
        BearerVerifier([Secret(text)])


PUBLIC_KEY = Secret("whpk_jN5npjQdyGpiBS8dpovD8KmFmoQVUDhqd02QQQ0zGGk=")
VENDOR_BODY = b'{"n": 1.0,  "t": "\\u00e9"}'
ED25519 = {
    "webhook-id": "msg_2ZkDf9",
    "webhook-timestamp": "1772366400",
    "webhook-signature": "v1a,1we7kS9BiIUQMPynTJ/EJ54CjvS/DansWmRS4HuNFwJ580TvUEvgjA2Cb0Zz8UAaVtnYG7iYWq58h56JHbKBDA==",
}


def test_a_public_key_verifies_and_cannot_sign():
    """Computed with `openssl pkeyutl -sign -rawin` over `id.timestamp.body`."""
    assert verified(fields(ED25519), VENDOR_BODY, secrets=(PUBLIC_KEY,)).secret == 0
    assert verified(fields(ED25519), VENDOR_BODY, secrets=(SECRET, PUBLIC_KEY)).secret == 1
    assert verified(fields(VECTOR), secrets=(PUBLIC_KEY, SECRET)).secret == 1
    assert code(fields(ED25519), body=VENDOR_BODY + b" ", secrets=(PUBLIC_KEY,)) is VerifyCode.MISMATCH
    assert code(fields(ED25519), body=VENDOR_BODY, secrets=(SECRET,)) is VerifyCode.MISMATCH
    assert (
        code(fields(ED25519), body=VENDOR_BODY, secrets=(PUBLIC_KEY,), now=SENT_AT + 301) is VerifyCode.CLOCK
    )
    as_a_mac = ED25519 | {"webhook-signature": ED25519["webhook-signature"].replace("v1a", "v1")}
    assert code(fields(as_a_mac), body=VENDOR_BODY, secrets=(PUBLIC_KEY,)) is VerifyCode.MISMATCH


@pytest.mark.parametrize("text", ["", "whpk_", "whpk_%", "whpk_AAAA", SECRET.reveal()])
def test_public_keys_that_are_refused(text):
    with pytest.raises(ValueError, match="public key"):
        parse_public_key(Secret(text))


VENDOR = Secret("a-sensor-secret-of-our-own")
BODY_HEX = "15004361266cc2252e13119e743b17d3165e89d1ddda842863045c47ad625728"
HMACS = {
    "bare-hex": (
        {"signature_header": "Authorization"},
        {"authorization": BODY_HEX},
    ),
    "github": (
        {"signature_header": "X-Hub-Signature-256", "prefix": "sha256="},
        {"X-Hub-Signature-256": f"sha256={BODY_HEX}"},
    ),
    "grafana": (
        {"signature_header": "X-Sig", "timestamp_header": "X-Ts", "message": "{timestamp}:{body}"},
        {
            "X-Sig": "ceab279c4617baf980d479649aad8b6d6fa55f7f4898c7f61122ab1c44ce264f",
            "X-Ts": "1772366400",
        },
    ),
    "crowdstrike-body-first": (
        {
            "signature_header": "X-Cs-Primary-Signature",
            "encoding": "base64",
            "timestamp_header": "X-Cs-Delivery-Timestamp",
            "timestamp_format": "rfc3339",
            "message": "{body}{timestamp}",
        },
        {
            "X-Cs-Primary-Signature": "1ygPM2Rsgpx9M2ihfu6FbPr/Hh7FO0+LR/v4sCJ5KcI=",
            "X-Cs-Delivery-Timestamp": "2026-03-01T12:00:00Z",
        },
    ),
    "crowdstrike-time-first": (
        {
            "signature_header": "X-Cs-Primary-Signature",
            "timestamp_header": "X-Cs-Delivery-Timestamp",
            "timestamp_format": "rfc3339",
            "message": "{timestamp}{body}",
        },
        {
            "X-Cs-Primary-Signature": "841a9b4fbcb5b7db4815531da576c310dce7e1f53712696bbc5bb4da1f275035",
            "X-Cs-Delivery-Timestamp": "2026-03-01T12:00:00Z",
        },
    ),
    "with-an-id": (
        {
            "signature_header": "X-Sig",
            "timestamp_header": "X-Ts",
            "id_header": "X-Id",
            "message": "{id}.{timestamp}.{body}",
        },
        {
            "X-Sig": "dcf3bd6989d526c31e47dac3a10f6de78fa77a6bd89cd6b0de76084c9d40ff8f",
            "X-Ts": "1772366400",
            "X-Id": "msg-1",
        },
    ),
}


def hmac_code(profile, headers, body=VENDOR_BODY, now=SENT_AT, secret=VENDOR):
    with pytest.raises(VerifyFault) as caught:
        HmacVerifier([secret], **profile).verify(headers, body, now)
    return caught.value.code


@pytest.mark.parametrize(("profile", "headers"), HMACS.values(), ids=list(HMACS))
def test_signatures_of_vendors(profile, headers):
    """Computed with `openssl dgst -sha256 -hmac`."""
    sent = fields(headers)
    verifier = HmacVerifier([Secret("another-secret-0123456789"), VENDOR], **profile)
    assert verifier.verify(sent, VENDOR_BODY, SENT_AT).secret == 1
    assert hmac_code(profile, sent, body=VENDOR_BODY.replace(b"  ", b" ")) is VerifyCode.MISMATCH
    assert hmac_code(profile, sent, secret=Secret("another-secret-0123456789")) is VerifyCode.MISMATCH
    for name in headers:
        rest = [each for each in sent if each[0] != name]
        assert hmac_code(profile, rest) is VerifyCode.MISSING
        assert hmac_code(profile, [*sent, (name, "x")]) is VerifyCode.REPEATED
    if "timestamp_header" in profile:
        for off in (-301, 301):
            assert hmac_code(profile, sent, now=SENT_AT + off) is VerifyCode.CLOCK
        changed = [(name, "1772366401" if "Ts" in name else value) for name, value in sent]
        assert changed == sent or hmac_code(profile, changed) is VerifyCode.MISMATCH


def test_hex_is_read_in_either_case():
    profile, _ = HMACS["bare-hex"]
    assert HmacVerifier([VENDOR], **profile).verify([("Authorization", BODY_HEX.upper())], VENDOR_BODY, 0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("github", {"X-Hub-Signature-256": BODY_HEX}),
        ("github", {"X-Hub-Signature-256": "sha256=xyz"}),
        ("bare-hex", {"authorization": BODY_HEX[:-2]}),
        ("grafana", {"X-Ts": "2026-03-01T12:00:00Z"}),
        ("grafana", {"X-Ts": "1772366400.0"}),
        ("crowdstrike-body-first", {"X-Cs-Delivery-Timestamp": "1772366400"}),
        ("crowdstrike-body-first", {"X-Cs-Primary-Signature": "%%%"}),
        ("crowdstrike-body-first", {"X-Cs-Primary-Signature": "AAAA"}),
        ("with-an-id", {"X-Id": "a b"}),
    ],
)
def test_unreadable_signatures(name, change):
    profile, headers = HMACS[name]
    assert hmac_code(profile, fields(headers | change)) is VerifyCode.UNREADABLE


@pytest.mark.parametrize(
    ("message", "timestamp", "message_id"),
    [
        ("", "", ""),
        ("{timestamp}", "X-Ts", ""),
        ("{body}{body}", "", ""),
        ("{body}", "X-Ts", ""),
        ("{timestamp}.{body}", "", ""),
        ("{id}.{body}", "", ""),
        ("{body}", "", "X-Id"),
        ("{nonce}{body}", "", ""),
        ("{body}}", "", ""),
    ],
)
def test_messages_that_are_refused(message, timestamp, message_id):
    with pytest.raises(ValueError, match=r"`|brace"):
        parse_message(message, timestamp, message_id)


def basic(name, password):
    return [("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())]


BASIC = BasicVerifier([Secret("first-secret-0123456789"), Secret("second:secret-0123456789")], "jamf")


def test_basic():
    assert BASIC.verify(basic("jamf", "first-secret-0123456789"), b"", 0).secret == 0
    assert BASIC.verify(basic("jamf", "second:secret-0123456789"), b"", 0).secret == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], VerifyCode.MISSING),
        ([("authorization", "Bearer x")], VerifyCode.UNREADABLE),
        ([("authorization", "Basic %")], VerifyCode.UNREADABLE),
        (basic("other", "first-secret-0123456789"), VerifyCode.MISMATCH),
        (basic("jamf", "first-secret"), VerifyCode.MISMATCH),
        (basic("jamf", "first-secret-0123456789") * 2, VerifyCode.REPEATED),
    ],
)
def test_basic_refusals(headers, expected):
    with pytest.raises(VerifyFault) as caught:
        BASIC.verify(headers, b"", 0)
    assert caught.value.code is expected
