"""Redirects of apps behind prefixes and own names, through a real front."""

import msgspec
import pytest

from gateway.wire.prefix import PathRewrite
from tests.wire.harness import Gate, Recorder

ANSWER = (
    b"HTTP/1.1 302 Found\r\nDate: Mon, 23 Nov 2026 03:00:00 GMT\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"/login?next=/a", b"/wiki/login?next=/a"),
        (b"http://%b/x", b"/wiki/x"),
        (b"https://idp/", b"https://idp/"),
    ],
)
async def test_redirects_lead_back_through_the_gateway(
    gate: Gate, recorder: Recorder, location: bytes, expected: bytes
) -> None:
    gate.route = msgspec.structs.replace(gate.route, rewrite=PathRewrite(strip="/wiki"), is_own_host=True)
    answer = ANSWER % location.replace(b"%b", gate.route.pool.address.authority)
    recorder.answer = lambda _: answer
    request = b"GET /wiki/a HTTP/1.1\r\nHost: app.test\r\n%b\r\n"
    plain = gate.route
    # The same connection of the upstream serves another app, whose answers are not translated.
    answers = []
    for route in (plain, msgspec.structs.replace(plain, rewrite=None, is_own_host=False), plain):
        gate.route = route
        answers.append(await gate.talk(request % b"Connection: close\r\n"))
    assert b"\r\nLocation: " + expected + b"\r\n" in answers[0]
    assert answer.split(b"\r\n")[2] in answers[1]
    assert b"\r\nLocation: " + expected + b"\r\n" in answers[2]


@pytest.mark.parametrize(
    "location", [b"http://app.test:%d/dir/", b"http://app.test/dir/", b"//app.test:%d/dir/"]
)
async def test_a_redirect_by_the_apps_own_port_stays_at_the_gateway(
    gate: Gate, recorder: Recorder, location: bytes
) -> None:
    """Web servers redirect a folder without its slash like that. Nothing else of the answer changes."""
    named = location.replace(b"%d", b"%d" % recorder.port)
    recorder.answer = lambda _: ANSWER % named
    answer = await gate.talk(b"GET /dir HTTP/1.1\r\nHost: app.test:8443\r\nConnection: close\r\n\r\n")
    assert answer == (ANSWER % b"/dir/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert gate.exchanges[-1].response.header(b"location") == b"/dir/"
