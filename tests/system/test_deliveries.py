"""The delivery log, running deliveries again, dead letters and test events, against a running gateway."""

import json
import re
import signal
from typing import Any

import aiohttp
import pytest

from tests.system.stack import HEALTHY, SENSOR_SECRET, Person, Stack, running_stack

pytestmark = pytest.mark.op


async def said(stack: Stack, *arguments: str, code: int = 0) -> str:
    """Return what a `posturegate sensor` command prints, once it ended with this code."""
    got, text = await stack.cli("sensor", *arguments, "--config", str(stack.config_path))
    assert got == code, text
    return text


async def asked(stack: Stack, path: str, **body: Any) -> dict[str, Any]:
    """Return what the administration socket answers: a GET, or with a body a POST."""
    connector = aiohttp.UnixConnector(str(stack.folder / "run" / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.request("POST" if body else "GET", f"http://gate{path}", json=body or None) as response,
    ):
        assert response.status == 200, await response.text()
        found: dict[str, Any] = await response.json()
        return found


async def risks(stack: Stack) -> list[str]:
    return [each["risk"]["level"] for each in (await asked(stack, "/devices"))["devices"]]


async def test_a_delivery_tells_what_it_did_to_risk_and_access() -> None:
    async with running_stack(workers=1) as stack:
        alice = Person()
        await stack.signal_risk("open", event="e0", **HEALTHY)
        await alice.sign_in(stack.url("/"))
        socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
        assert (await socket.receive()).data == "tick"
        answer = await stack.signal_risk("open", event="e1")
        record = await asked(stack, f"/delivery?id={answer['delivery']}")
        assert (record["verdict"], record["accepted"], record["secret"]) == ("accepted", 1, 1)
        (effect,) = record["effects"]
        assert (effect["risk_before"], effect["risk_after"]) == ("none", "high")
        assert (effect["compliance_before"], effect["compliance_after"]) == ("compliant", "noncompliant")
        assert [(each["app"], each["before"], each["after"]) for each in effect["access"]] == [
            ("notes", "allow", "remediate")
        ]
        assert record["streams_cut"] == {"notes": 1}
        assert 0 < record["durable_in_ms"] <= record["enforced_in_ms"] <= record["answered_in_ms"]
        shown = await said(stack, "delivery", answer["delivery"])
        assert "risk none -> high, compliant -> noncompliant" in shown
        assert "notes: allow -> remediate" in shown
        assert re.search(r"cut +notes 1 open", shown)
        body = json.loads(await said(stack, "delivery", answer["delivery"], "--body"))
        assert body["event"] == "e1"
        await alice.close()


async def test_every_verdict_is_recorded_and_strangers_leave_no_body() -> None:
    async with running_stack(workers=1) as stack:
        await stack.signal_risk("open", event="e1")
        await stack.signal_risk("open", event="e1")
        await stack.signal_risk("open", event="e2", serial="", host="localhost")
        await stack.signal_risk("open", event="e3", at="late", severity="odd")
        async with aiohttp.ClientSession() as http:
            for body, secret in ((b"{", SENSOR_SECRET), (b"{}", "wrong-secret-0123456789")):
                url = f"http://127.0.0.1:{stack.port}/.gate/hooks/edr"
                headers = {"Authorization": f"Bearer {secret}", "Host": f"login.localhost:{stack.port}"}
                await (await http.post(url, data=body, headers=headers)).read()
        listed = (await asked(stack, "/deliveries?sensor=edr"))["deliveries"]
        assert [each["verdict"] for each in reversed(listed)] == [
            "accepted",
            "duplicate",
            "unknown-device",
            "accepted",
            "schema",
            "bad-signature",
        ]
        refused = listed[0]
        assert "body_sha256" not in refused
        assert await said(stack, "delivery", refused["id"], "--body", code=1) == "its body is not kept\n"
        text = await said(stack, "deliveries", "edr", "--most", "2")
        assert "bad-signature" in text
        assert "2 deliveries" in text


async def test_a_dead_letter_is_taken_once_the_mapping_reads_it() -> None:
    """The mapping looks for `serial`, this sender says `sn`: once that is mended nothing has to be sent again."""
    async with running_stack(workers=1) as stack:
        answer = await stack.signal_risk("open", event="e1", serial="", host="", sn="SER-ALICE-1")
        assert answer["status"] == 422
        (letter,) = (await asked(stack, "/dead-letters?sensor=edr"))["dead_letters"]
        assert letter["delivery"]
        (tried,) = (await asked(stack, "/dead-letters/retry", sensor="edr", ids=None))["outcomes"]
        assert (tried["is_settled"], tried["text"][:9]) == (False, "no-device")
        stack.config_path.write_text(
            stack.config_path.read_text().replace("path: serial}", "path: serial}, {kind: serial, path: sn}")
        )
        code, _ = await stack.cli("reload", "--config", str(stack.config_path))
        assert code == 0
        looked = await asked(stack, "/dead-letters/retry", sensor="edr", ids=[letter["id"]], dry_run=True)
        assert [each["is_settled"] for each in looked["outcomes"]] == [True]
        assert len((await asked(stack, "/dead-letters?sensor=edr"))["dead_letters"]) == 1
        assert await risks(stack) == []
        assert "taken: 1 accepted" in await said(stack, "retry", "edr", str(letter["id"]))
        assert (await asked(stack, "/dead-letters?sensor=edr"))["dead_letters"] == []
        assert await risks(stack) == ["high"]
        (record,) = (await asked(stack, "/deliveries?sensor=edr&most=1"))["deliveries"]
        assert (record["again"], record["code"]) == (letter["delivery"], "replayed")
        assert record["age_s"] > 0


async def test_a_span_is_run_again_and_survives_a_restart() -> None:
    async with running_stack(workers=1) as stack:
        await stack.signal_risk("open", event="e1", severity="odd")
        await stack.signal_risk("open", event="e2", condition="mal-2", severity="low")
        stack.config_path.write_text(
            stack.config_path.read_text().replace(
                "level: {path: severity}", "level: {path: severity, table: {odd: critical, low: low}}"
            )
        )
        await stack.stop(signal.SIGTERM)
        await stack.start()
        looked = await asked(
            stack, "/deliveries/replay", sensor="edr", since="2026-01-01T00:00:00Z", dry_run=True
        )
        first, second = looked["outcomes"]
        assert first["effects"][0]["risk_after"] == "high"
        assert (first["accepted"], second["duplicates"]) == (1, 1)
        assert await risks(stack) == ["medium"]
        done = await asked(stack, "/deliveries/replay", sensor="edr", since="2026-01-01T00:00:00Z")
        assert [each["accepted"] for each in done["outcomes"]] == [1, 0]
        assert await risks(stack) == ["high"]
        again = await asked(stack, "/deliveries/replay", sensor="edr", ids=[first["id"]])
        assert (again["outcomes"][0]["accepted"], again["outcomes"][0]["duplicates"]) == (0, 1)
        assert "no sensor" in await said(stack, "replay", "edrr", "--since", "1h", code=1)
        assert "not kept" in await said(stack, "replay", "edr", "--id", "nothing", code=3)
        assert "is no time" in await said(stack, "replay", "edr", "--since", "soon", code=2)


async def test_a_test_event_proves_the_way_and_changes_nothing() -> None:
    async with running_stack(workers=1) as stack:
        text = await said(stack, "test-event", "edr")
        assert '"test": true' in text
        file = stack.folder / "body.json"
        body = {"serial": "SER-9", "kind": "detection", "severity": "high", "condition": "c", "event": "e"}
        file.write_text(json.dumps(body))
        answer = json.loads((await said(stack, "test-event", "edr", str(file))).partition("\n")[2])
        assert (answer["would_accept"], answer["enforced"]) == (1, False)
        assert await risks(stack) == []
        record = await asked(stack, f"/delivery?id={answer['delivery']}")
        assert (record["verdict"], record["effects"][0]["risk_after"]) == ("test", "high")
        file.write_text(json.dumps({"severity": "high", "kind": "detection", "condition": "c"}))
        text = await said(stack, "test-event", "edr", str(file), code=1)
        assert "no-device" in text
        assert "0 dead letters" in await said(stack, "dead-letters", "edr")
        assert await said(stack, "replay", "edr", "--since", "1h") == "0 deliveries\n"
        assert "a test event" in await said(stack, "replay", "edr", "--id", answer["delivery"], code=3)
        status = await said(stack, "status")
        assert "never heard  SILENT" in status
        assert "test 3" in status


async def test_the_standing_of_sensors_in_status_and_metrics() -> None:
    async with running_stack(workers=1) as stack:
        await stack.signal_risk("open", event="e1")
        (status,) = (await asked(stack, "/sensors"))["sensors"]
        assert (status["sensor"], status["verdicts"], status["is_silent"]) == ("edr", {"accepted": 1}, False)
        assert status["age_s"] < 60
        async with aiohttp.ClientSession() as http:
            text = await (await http.get(f"http://127.0.0.1:{stack.ops_port}/metrics")).text()
        for name in ("last_event_timestamp_seconds", "rate", "silent", "quota_per_second", "quota_left"):
            assert f'posturegate_sensor_{name}{{sensor="edr"}}' in text


async def test_openapi_and_schemas_are_served_on_the_login_host_alone() -> None:
    async with running_stack(workers=1) as stack:
        person = Person()
        status, _, text = await person.get(stack.url("/.gate/openapi.json", "login"), navigate=False)
        assert (status, json.loads(text)["openapi"]) == (200, "3.1.1")
        assert json.loads(text)["servers"] == [{"url": stack.url("", "login")}]
        status, _, text = await person.get(stack.url("/.gate/schemas", "login"), navigate=False)
        paths = json.loads(text)["schemas"]
        assert "/.gate/schemas/wazuh-payload.json" in paths
        status, _, text = await person.get(stack.url(paths[0], "login"), navigate=False)
        assert (status, json.loads(text)["$schema"]) == (200, "https://json-schema.org/draft/2020-12/schema")
        assert (await person.get(stack.url("/.gate/openapi.json"), navigate=False))[0] == 404
        stack.write_config(server="  openapi: false")
        assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
        assert (await person.get(stack.url("/.gate/openapi.json", "login"), navigate=False))[0] == 404
        assert (await person.get(stack.url(paths[0], "login"), navigate=False))[0] == 404
        await person.close()
