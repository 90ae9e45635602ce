"""Asking products: real HTTP on loopback in the shape of each product's API, the real intake, real SQLite."""

import asyncio
import pkgutil
import re
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from gateway.config.pulls import Pull
from gateway.config.schema import Bearer, Sensor
from gateway.hub.hooks import hook_sensor
from gateway.pulls import hub as pulls_module
from gateway.pulls.http import ProductHttp, retry_after_s
from gateway.pulls.hub import Pulls, RefreshOutcome
from gateway.pulls.ingest import Ingest
from gateway.pulls.store import SCHEMA as PULL_SCHEMA
from gateway.pulls.store import CursorStore
from plugins.catalog import Catalog
from plugins.pulling import Grant, PullAccess, PullCode, PullFault
from risk.database import Database
from risk.intake import Intake
from risk.model import Identifier, RiskLevel, SensorRules
from risk.scoring import assess, fact_value
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore
from risk.values import Secret

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CATALOG = Catalog.discover()


class Product:
    """A product's API: answers by method and path, keeps what was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}
        self.tokens = 0

    async def handle(self, request):
        if request.path == "/token":
            self.tokens += 1
            form = await request.post()
            self.asked.append(("TOKEN", dict(form)))
            return web.json_response({"access_token": f"t{self.tokens}", "expires_in": 3600})
        self.asked.append((request.method, request.path, dict(request.query), dict(request.headers)))
        answer = self.answers.get((request.method, request.path))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, web.Response):
            return answer
        return (
            web.json_response({"message": "not found"}, status=404)
            if answer is None
            else web.json_response(answer)
        )

    def paths(self):
        return [each[1] for each in self.asked if each[0] != "TOKEN"]


class Rig:
    def __init__(self, folder):
        self.product = Product()
        self.database = Database(folder / "state.db", {"risk": SCHEMA, "pulls": PULL_SCHEMA})
        self.state = RiskState()
        self.intake = Intake(self.state, SqliteRiskStore(self.database), clock=lambda: NOW)
        self.enforced = []
        self.seen = []
        self.registry = CollectorRegistry()
        self.mono = 1000.0
        self.pulls = None

    async def start(self):
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.product.handle)
        self.server = TestServer(application)
        await self.server.start_server()
        self.url = str(self.server.make_url("")).rstrip("/")
        self.database.start()
        await self.intake.start()
        self.pulls = self.make()

    def make(self):
        return Pulls(
            Ingest(self.intake, self.enforce, self.seen.append, lambda: NOW),
            CursorStore(self.database),
            self.state,
            clock=lambda: NOW,
            registry=CollectorRegistry(),
            mono=lambda: self.mono,
        )

    async def enforce(self, devices, _received_ns):
        self.enforced.append(devices)

    async def stop(self):
        await self.pulls.stop()
        await self.intake.stop()
        self.database.close()
        await self.server.close()

    async def run(self, kind, *, options=None, **pull):
        """Ask one product until its first look is over."""
        given = {"url": self.url, "interval": 3600.0, "timeout": 60.0, **pull}
        sensor = Sensor(
            name=kind,
            kind=kind,
            auth=Bearer(secrets=(Secret("x" * 32),)),
            options=options or {},
            pull=Pull(**given),
        )
        await self.pulls.configure([sensor], {kind: hook_sensor(sensor, CATALOG)})
        puller, _ = self.pulls._running[kind]
        await until(lambda: puller.status.succeeded_at or puller.status.fault)
        return puller

    def device(self, kind, value, issuer=""):
        found = self.state.resolve([Identifier(kind, value, issuer)])
        return None if found is None else self.state.posture(found)


async def until(done, most_s=60):
    async with asyncio.timeout(most_s):
        while not done():  # noqa: ASYNC110 - the condition is somebody else's
            await asyncio.sleep(0.005)


@pytest.fixture
async def rig(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.pulls.puller.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("gateway.pulls.puller.PAUSE_S", 0.0)
    made = Rig(tmp_path)
    await made.start()
    yield made
    await made.stop()


TOKEN = {"token": Secret("fleet-token")}
GRAPH = {"client_id": "app", "client_secret": Secret("hush"), "tenant": "t-1"}


def rules(kind):
    return {kind: SensorRules(name=kind)}


# --- Fleet ----------------------------------------------------------------------------------------


def host(number, response="fail", **rest):
    return {
        "id": number,
        "hostname": f"mac-{number}",
        "hardware_serial": f"SER{number}",
        "status": "online",
        "os_version": "macOS 15.3",
        "seen_time": "2026-03-02T11:00:00Z",
        "policy_updated_at": "2026-03-02T10:00:00Z",
        "disk_encryption_enabled": True,
        "mdm": {"enrollment_status": "On (automatic)"},
        "policies": [
            {
                "id": 7,
                "name": "Firewall is on",
                "critical": True,
                "response": response,
                "resolution": "Turn it on.",
            }
        ],
        **rest,
    }


def fleet(hosts):
    def answer(request):
        page, size = int(request.query["page"]), int(request.query["per_page"])
        return {"hosts": hosts[page * size : (page + 1) * size]}

    return answer


async def test_fleet_is_asked_page_by_page_and_what_it_tells_is_enforced(rig):
    hosts = [host(1), host(2, "pass"), host(3)]
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet(hosts)
    puller = await rig.run("fleet", page_size=2, options={"facts": {"7": "firewall_on"}}, **TOKEN)
    assert puller.status.fault == ""
    assert [each[2]["page"] for each in rig.product.asked] == ["0", "1"]
    assert rig.product.asked[0][3]["Authorization"] == "Bearer fleet-token"
    bad, good = rig.device("serial", "SER1"), rig.device("serial", "SER2")
    assert assess(bad, rules("fleet"), NOW).level is RiskLevel.HIGH
    assert assess(good, rules("fleet"), NOW).level is RiskLevel.NONE
    assert fact_value(bad, "firewall_on", rules("fleet"), NOW).value is False
    assert fact_value(good, "disk_encrypted", rules("fleet"), NOW).value is True
    assert {bad.device_id, good.device_id} <= frozenset().union(*rig.enforced)
    assert {each.verdict for each in rig.seen} == {"pulled"}


async def test_a_host_passes_what_a_webhook_said_that_it_fails(rig):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([host(1, "pass")])
    sensor = CATALOG.sensor("fleet")
    webhook = {
        "timestamp": "2026-03-02T09:00:00Z",
        "policy": {"id": 7, "name": "Firewall is on", "critical": True},
        "hosts": [{"id": 1, "hostname": "mac-1"}],
    }
    told = sensor.normalize([webhook], sensor.parse_options({}), sensor="fleet", received_at=NOW, headers={})
    await rig.intake.submit("fleet", told.signals)
    assert assess(rig.device("hostname", "mac-1"), rules("fleet"), NOW).level is RiskLevel.HIGH
    await rig.run("fleet", **TOKEN)
    assert assess(rig.device("serial", "SER1"), rules("fleet"), NOW).level is RiskLevel.NONE


async def test_a_product_that_is_asked_too_often_is_left_alone_as_long_as_it_wants(rig):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = web.Response(
        status=429, headers={"Retry-After": "120"}
    )
    puller = await rig.run("fleet", **TOKEN)
    assert puller.status.fault.startswith("rate-limited")
    assert len(rig.product.asked) == 1
    (component,) = rig.pulls.components()
    assert (component.is_ready, component.is_required) == (False, False)


async def test_an_unusable_host_costs_only_itself_and_is_kept_once(rig):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([{"status": "online"}, host(1)])
    puller = await rig.run("fleet", **TOKEN)
    assert rig.device("serial", "SER1") is not None
    await puller._round()
    assert len(await SqliteRiskStore(rig.database).dead_letters("fleet", 9)) == 1


@pytest.mark.parametrize(
    "what", ["gateway.pulls.http.parse_payloads", "plugins.sensors.fleet.FleetSensor.normalize"]
)
async def test_others_have_their_turn_while_a_page_is_read(rig, monkeypatch, what):
    """Whatever the page takes, the loop turns meanwhile: here it takes until the loop has done something else."""
    module, _, name = what.rpartition(".")
    owner = pkgutil.resolve_name(module)
    real, turned, reading = getattr(owner, name), threading.Event(), threading.Event()

    def slowly(*args, **rest):
        reading.set()
        assert turned.wait(10), "the loop stood still"
        return real(*args, **rest)

    async def turn():
        await until(reading.is_set)
        turned.set()

    monkeypatch.setattr(owner, name, slowly)
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([host(1)])
    turning = asyncio.ensure_future(turn())
    puller = await rig.run("fleet", **TOKEN)
    await turning
    assert puller.status.fault == ""
    assert rig.device("serial", "SER1") is not None


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<html>", content_type="text/html"),
        web.Response(text='{"hosts": 7}'[:5]),
        {"no": "hosts"},
        web.Response(status=500),
        web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_an_answer_that_cannot_be_read_is_a_fault_and_never_more(rig, answer):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = answer
    puller = await rig.run("fleet", **TOKEN)
    assert puller.status.fault
    assert rig.product.paths() == ["/api/v1/fleet/hosts"]


# --- Graph ----------------------------------------------------------------------------------------


def managed(number, state="noncompliant"):
    return {
        "id": f"i-{number}",
        "azureADDeviceId": f"e-{number}",
        "serialNumber": f"SER{number}",
        "deviceName": f"pc-{number}",
        "complianceState": state,
        "lastSyncDateTime": "2026-03-02T11:00:00Z",
    }


async def test_intune_is_followed_from_link_to_link_and_the_delta_is_kept(rig):
    path = "/v1.0/deviceManagement/managedDevices"
    graph = {**GRAPH, "token_url": f"{rig.url}/token"}

    def answer(request):
        if "skip" in request.query:
            link = f"{rig.url}{path}?delta=d1"
            return {"value": [managed(2)], "@odata.deltaLink": link}
        if "delta" in request.query:
            return {"value": [managed(1, "compliant")], "@odata.deltaLink": f"{rig.url}{path}?delta=d2"}
        return {"value": [managed(1)], "@odata.nextLink": f"{rig.url}{path}?skip=1"}

    rig.product.answers["GET", path] = answer
    puller = await rig.run("intune", **graph)
    assert puller.status.fault == ""
    assert rig.device("serial", "SER2") is not None
    assert rig.product.tokens == 1
    form = rig.product.asked[0][1]
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "client_secret": "hush",
        "scope": f"{rig.url}/.default",
    }
    await rig.pulls.stop()
    rig.pulls = rig.make()
    await rig.run("intune", **graph)
    assert rig.product.asked[-1][2] == {"delta": "d1"}, "the cursor outlives the process"


async def test_a_delta_that_the_product_has_forgotten_begins_anew(rig):
    path = "/v1.0/deviceManagement/managedDevices"
    graph = {**GRAPH, "token_url": f"{rig.url}/token"}
    full = {"value": [managed(1)], "@odata.deltaLink": f"{rig.url}{path}?delta=old"}
    rig.product.answers["GET", path] = lambda request: (
        web.Response(status=410) if "delta" in request.query else full
    )
    puller = await rig.run("intune", **graph)
    await puller._round()
    assert [each[2] for each in rig.product.asked if each[0] == "GET"] == [
        {"$top": "100"},
        {"delta": "old"},
        {"$top": "100"},
    ]


async def test_a_link_to_somebody_else_gets_no_credentials(rig):
    path = "/v1.0/deviceManagement/managedDevices"
    rig.product.answers["GET", path] = {"value": [], "@odata.nextLink": "http://127.0.0.1:9/steal"}
    puller = await rig.run("intune", token_url=f"{rig.url}/token", **GRAPH)
    assert puller.status.fault.startswith("foreign-link")


async def test_a_token_that_was_revoked_is_renewed_once(rig):
    def answer(request):
        is_fresh = request.headers["Authorization"] == "Bearer t2"
        return {"value": []} if is_fresh else web.Response(status=401)

    rig.product.answers["GET", "/v1.0/deviceManagement/managedDevices"] = answer
    puller = await rig.run("intune", token_url=f"{rig.url}/token", **GRAPH)
    assert (puller.status.fault, rig.product.tokens) == ("", 2)


def alert(number, at, status="new"):
    evidence = {"@odata.type": "#microsoft.graph.security.deviceEvidence", "azureAdDeviceId": "e-1"}
    return {
        "id": number,
        "status": status,
        "severity": "high",
        "title": "Malware",
        "lastUpdateDateTime": at,
        "evidence": [evidence],
    }


async def test_defender_is_asked_for_what_changed_since_and_for_what_a_notification_names(rig):
    path = "/v1.0/security/alerts_v2"
    rig.product.answers["GET", path] = {"value": [alert("a1", "2026-03-02T10:00:00Z")]}
    puller = await rig.run("defender", token_url=f"{rig.url}/token", **GRAPH)
    assert puller.status.fault == ""
    assert assess(rig.device("entra-device-id", "e-1"), rules("defender"), NOW).level is RiskLevel.HIGH
    await puller._round()
    assert rig.product.asked[-1][2]["$filter"] == "lastUpdateDateTime ge 2026-03-02T10:00:00Z"
    rig.product.answers["GET", f"{path}/a1"] = alert("a1", "2026-03-02T11:00:00Z", "resolved")
    assert rig.pulls.want("defender", ["security/alerts_v2/a1"])
    await until(lambda: f"{path}/a1" in rig.product.paths())
    await until(
        lambda: assess(rig.device("entra-device-id", "e-1"), rules("defender"), NOW).level is RiskLevel.NONE
    )
    assert not rig.pulls.want("nobody", ["x"])


@pytest.mark.parametrize("resource", ["users/1", "security/alerts_v2/../../users", "https://evil/alerts/1"])
async def test_nothing_but_alerts_is_fetched_for_a_notification(rig, resource):
    plugin = CATALOG.sensor("defender").plugin
    with pytest.raises(PullFault):
        await plugin.fetch(resource, None, None)


# --- others ---------------------------------------------------------------------------------------


async def test_kolide_tells_of_devices_and_then_of_issues(rig):
    device = {"id": "d1", "serial": "SER1", "name": "mac", "auth_state": "Good"}
    issue = {"id": "9", "title": "Firewall off", "detected_at": "2026-03-02T10:00:00Z", "resolved_at": None}
    issue["device_information"] = {"identifier": "d1"}
    rig.product.answers["GET", "/devices"] = {"data": [device], "pagination": {"next_cursor": ""}}
    rig.product.answers["GET", "/issues"] = {"data": [issue], "pagination": {"next_cursor": ""}}
    puller = await rig.run("kolide", **TOKEN)
    assert puller.status.fault == ""
    assert rig.product.asked[0][3]["X-Kolide-Api-Version"]
    posture = rig.device("serial", "SER1")
    assert "Firewall off" in {each.title for each in posture.findings.values()}


async def test_jamf_tells_of_its_computers(rig):
    computer = {
        "id": "52",
        "udid": "0A0A0A0A-0000-4000-8000-000000000052",
        "general": {
            "lastContactTime": "2026-03-02T10:00:00Z",
            "remoteManagement": {"managed": True},
            "platform": "Mac",
        },
        "hardware": {"serialNumber": "SER52"},
        "operatingSystem": {"version": "15.3"},
        "diskEncryption": {"bootPartitionEncryptionDetails": {"partitionFileVault2State": "DECRYPTED"}},
        "userAndLocation": {"email": "robin@example.com"},
    }
    rig.product.answers["GET", "/api/v1/computers-inventory"] = {"totalCount": 1, "results": [computer]}
    puller = await rig.run("jamf", token_url=f"{rig.url}/token", client_id="c", client_secret=Secret("s"))
    assert puller.status.fault == ""
    posture = rig.device("serial", "SER52")
    assert fact_value(posture, "disk_encrypted", rules("jamf"), NOW).value is False
    rig.product.answers["GET", "/api/v1/computers-inventory-detail/52"] = computer
    (result,) = (await rig.pulls.refresh(posture.device_id)).values()
    assert result.outcome is RefreshOutcome.UNCHANGED


async def test_crowdstrike_is_asked_for_alerts_in_the_order_of_their_change(rig):
    found = {
        "composite_id": "c1",
        "severity_name": "High",
        "status": "new",
        "updated_timestamp": "2026-03-02T10:00:00Z",
        "device": {"device_id": "aid1", "hostname": "pc-1"},
    }
    rig.product.answers["GET", "/alerts/queries/alerts/v2"] = {"resources": ["c1"]}
    rig.product.answers["POST", "/alerts/entities/alerts/v2"] = {"resources": [found]}
    puller = await rig.run(
        "crowdstrike", token_url=f"{rig.url}/token", client_id="c", client_secret=Secret("s")
    )
    assert puller.status.fault == ""
    assert assess(rig.device("hostname", "pc-1"), rules("crowdstrike"), NOW).level is RiskLevel.HIGH
    await puller._round()
    queries = [each[2] for each in rig.product.asked if each[1] == "/alerts/queries/alerts/v2"]
    assert queries[-1]["filter"] == "updated_timestamp:>='2026-03-02T10:00:00Z'"


# --- one device -----------------------------------------------------------------------------------


async def test_check_again_asks_about_one_device_and_returns_when_it_is_enforced(rig):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([host(1)])
    await rig.run("fleet", **TOKEN)
    posture = rig.device("serial", "SER1")
    assert assess(posture, rules("fleet"), NOW).level is RiskLevel.HIGH
    better = host(1, "pass", policy_updated_at="2026-03-02T11:30:00Z", seen_time="2026-03-02T11:30:00Z")
    rig.product.answers["GET", "/api/v1/fleet/hosts/1"] = {"host": better}
    rig.product.answers["POST", "/api/v1/fleet/hosts/1/refetch"] = lambda _: web.Response(status=200)
    rig.enforced.clear()
    (result,) = (await rig.pulls.refresh(posture.device_id)).values()
    assert result.outcome is RefreshOutcome.CHANGED
    assert rig.enforced == [{posture.device_id}]
    assert assess(rig.device("serial", "SER1"), rules("fleet"), NOW).level is RiskLevel.NONE
    (again,) = (await rig.pulls.refresh(posture.device_id)).values()
    assert again.outcome is RefreshOutcome.TOO_SOON
    assert again.retry_in_s == pulls_module.REFRESH_EVERY_S
    rig.mono += pulls_module.REFRESH_EVERY_S
    (last,) = (await rig.pulls.refresh(posture.device_id)).values()
    assert last.outcome is RefreshOutcome.UNCHANGED
    del rig.product.answers["GET", "/api/v1/fleet/hosts/1"]
    rig.mono += pulls_module.REFRESH_EVERY_S
    (gone,) = (await rig.pulls.refresh(posture.device_id)).values()
    assert gone.outcome is RefreshOutcome.NOT_KNOWN


async def test_a_product_that_does_not_answer_fails_the_question_and_nothing_else(rig, monkeypatch):
    monkeypatch.setattr(pulls_module, "REFRESH_TIMEOUT_S", 0.05)
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([host(1)])
    puller = await rig.run("fleet", **TOKEN)

    async def never(*_arguments, **_options):
        await asyncio.Event().wait()

    monkeypatch.setattr(puller, "refresh", never)
    (result,) = (await rig.pulls.refresh(rig.device("serial", "SER1").device_id)).values()
    assert result.outcome is RefreshOutcome.FAILED


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("7", 7.0),
        ("-1", 0.0),
        ("1e9", 3600.0),
        ("inf", None),
        ("soon", None),
        ((NOW + timedelta(seconds=30)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 30.0),
    ],
)
def test_how_long_a_product_wants_to_be_left_alone(text, expected):
    assert retry_after_s(text, NOW) == expected


async def test_an_answer_without_end_is_not_held(rig):
    rig.product.answers["GET", "/big"] = web.Response(body=b"[" + b"1," * 5000 + b"1]")
    pull = Pull(url=rig.url, token=Secret("t"), max_bytes=1000)
    http = ProductHttp(pull, PullAccess(grant=Grant.TOKEN))
    with pytest.raises(PullFault) as fault:
        await http.get("/big")
    assert fault.value.code is PullCode.FAILED
    await http.close()


async def test_a_reload_goes_on_where_nothing_changed_and_starts_anew_where_something_did(rig):
    rig.product.answers["GET", "/api/v1/fleet/hosts"] = fleet([])
    before = await rig.run("fleet", **TOKEN)
    assert await rig.run("fleet", **TOKEN) is before
    after = await rig.run("fleet", token=Secret("another-token"))
    assert after is not before
    await rig.pulls.configure([], {})
    assert rig.pulls.status() == []


def test_a_status_can_be_shown(rig):
    assert msgspec.json.encode(rig.pulls.status()) == b"[]"


# --- a plugin of somebody else ----------------------------------------------------------------------


async def test_the_worked_plugin_asks_its_product(rig, monkeypatch):
    """What `docs/pulling.md` shows works as shown: a round over two pages, and one device on request."""
    docs = Path(__file__).parents[3] / "docs"
    listens, asks = (
        re.findall(r"```python\n(.*?)```", (docs / name).read_text(), re.DOTALL)[0]
        for name in ("sensors.md", "pulling.md")
    )
    module = ModuleType("acme_posturegate")
    exec(listens, module.__dict__)  # noqa: S102 - our own document
    monkeypatch.setitem(sys.modules, "acme_posturegate", module)
    scope = {}
    exec(asks, scope)  # noqa: S102 - our own document
    monkeypatch.setattr(f"{__name__}.CATALOG", Catalog([scope["AcmeSensor"]()]))
    pages = {
        "": {
            "threats": [{"host": {"sn": "SN-1"}, "threat": "T1", "at": "2026-03-02T11:00:00Z"}],
            "next": "p2",
        },
        "p2": {"threats": [], "next": "p3"},
    }
    rig.product.answers["GET", "/v1/threats"] = lambda request: web.json_response(
        pages[request.query["after"]]
    )
    rig.product.answers["GET", "/v1/hosts/SN-1"] = {
        "host": {"sn": "SN-1"},
        "threat": "T2",
        "at": "2026-03-02T11:30:00Z",
    }
    puller = await rig.run("acme", token=Secret("acme-token"))
    assert puller.status.fault == ""
    assert set(rig.device("serial", "SN-1").findings) == {("acme", "threat:T1")}
    device_id = rig.state.resolve([Identifier("serial", "SN-1")])
    assert (await rig.pulls.refresh(device_id))["acme"].outcome is RefreshOutcome.CHANGED
    assert ("acme", "threat:T2") in rig.device("serial", "SN-1").findings
    assert rig.product.asked[0][3]["Authorization"] == "Bearer acme-token"
    del rig.product.answers["GET", "/v1/hosts/SN-1"]
    rig.mono += 60
    assert (await rig.pulls.refresh(device_id))["acme"].outcome is RefreshOutcome.NOT_KNOWN
