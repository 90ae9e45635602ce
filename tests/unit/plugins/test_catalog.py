"""Finding plugins, checking their options, and bearing with their faults."""

from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import msgspec
import pytest

from plugins.bounds import MAX_ACTIONS, MAX_FACTS, MAX_ID_CHARS, MAX_TITLE_CHARS, PluginFault
from plugins.catalog import Catalog, OptionsFault, SensorFacade
from plugins.contract import Normalized
from plugins.sensors.generic import GenericSensor
from plugins.sensors.wazuh import WazuhSensor
from risk.model import Identifier, Severity, Signal, SignalType
from risk.values import ByteSize, Duration, Strict

RECEIVED = datetime(2026, 3, 1, tzinfo=UTC)


class Nested(Strict, frozen=True):
    wait: Duration | None = None


class Options(Strict, frozen=True):
    ttl: Duration = 1.0
    size: ByteSize = 1
    nested: Nested = Nested()
    many: tuple[Nested, ...] = ()


def signal(**rest):
    given = {
        "sensor": "s",
        "type": SignalType.DETECTION,
        "observed_at": RECEIVED,
        "received_at": RECEIVED,
        "external_id": "c",
        "event_id": "e",
        "device_ids": (Identifier("serial", "S1"),),
        "level": Severity.HIGH,
    }
    return Signal(**(given | rest))


class Toy:
    """A plugin that returns whatever the payload asks for."""

    kind = "toy"
    title = "Toy"
    options_type = Options
    samples = ()

    def normalize(self, payload, options, *, sensor, received_at, headers):
        if isinstance(payload, Exception):
            raise payload
        if isinstance(payload, Signal):
            return Normalized(signals=(payload,), origins=(0,))
        return payload


def normalize(*payloads):
    facade = SensorFacade(Toy())
    return facade.normalize(payloads, Options(), sensor="s", received_at=RECEIVED, headers={})


def test_the_installed_kinds_are_found():
    entries = [
        EntryPoint("generic", "plugins.sensors.generic:GenericSensor", "gateway.sensors"),
        EntryPoint("wazuh", "plugins.sensors.wazuh:WazuhSensor", "gateway.sensors"),
    ]
    catalog = Catalog.discover(entries)
    assert catalog.kinds == ("generic", "wazuh")
    assert catalog.sensor("wazuh").kind == "wazuh"


def test_no_kinds_at_all_is_a_fault_that_says_what_to_do():
    with pytest.raises(PluginFault, match="pip install"):
        Catalog.discover([])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broken", "plugins.no_such_module:X"),
        ("broken", "plugins.sensors.wazuh:NoSuchClass"),
        ("other", "plugins.sensors.wazuh:WazuhSensor"),
        ("broken", "types:SimpleNamespace"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(name, value):
    with pytest.raises(PluginFault, match=f"`{name}`"):
        Catalog.discover([EntryPoint(name, value, "gateway.sensors")])


def test_an_unknown_kind_gets_the_nearest_name():
    catalog = Catalog([WazuhSensor(), GenericSensor()])
    with pytest.raises(PluginFault, match="did you mean `wazuh`"):
        catalog.sensor("wazu")
    with pytest.raises(PluginFault, match="generic, wazuh"):
        catalog.sensor("zzz")


def test_options_have_units():
    facade = SensorFacade(Toy())
    options = facade.parse_options(
        {"ttl": "25h", "size": "2KiB", "nested": {"wait": "1m"}, "many": [{"wait": "2s"}, {"wait": None}]}
    )
    assert options == Options(ttl=90000, size=2048, nested=Nested(wait=60), many=(Nested(wait=2), Nested()))


@pytest.mark.parametrize(
    ("raw", "path", "text"),
    [
        ({"ttl": 5}, "ttl", "`5` is no duration"),
        ({"nested": {"wait": "5"}}, "nested.wait", "no duration"),
        ({"many": [{"wait": "x"}]}, "many[0].wait", "no duration"),
        ({"tttl": "5s"}, "", "did you mean `ttl`"),
        ({"nested": {"wiat": "5s"}}, "nested", "did you mean `wait`"),
        ({"zzz": 1}, "", "unknown field `zzz`"),
        ({"nested": 5}, "nested", "Expected"),
    ],
)
def test_options_that_are_refused(raw, path, text):
    with pytest.raises(OptionsFault) as caught:
        SensorFacade(Toy()).parse_options(raw)
    assert caught.value.path == path
    assert text in caught.value.text


@pytest.mark.parametrize(
    "payload",
    [
        ZeroDivisionError("boom"),
        None,
        Normalized(signals=(signal(),), origins=()),
        Normalized(signals=(signal(),), origins=(0,), sources=({}, {})),
        signal(sensor="another"),
        signal(received_at=datetime(2020, 1, 1, tzinfo=UTC)),
        signal(observed_at=datetime(2020, 1, 1)),  # noqa: DTZ001 - that is the fault
        signal(external_id=""),
        signal(event_id=""),
        signal(facts={"a": [1]}),
        signal(facts={str(n): 1 for n in range(MAX_FACTS + 1)}),
    ],
)
def test_a_fault_of_the_plugin_costs_one_payload(payload):
    result = normalize(signal(event_id="before"), payload, signal(event_id="after"))
    assert [each.event_id for each in result.signals] == ["before", "after"]
    assert result.origins == (0, 2)
    assert [(each.index, each.code) for each in result.rejections] == [(1, "plugin-fault")]
    assert "`toy`" in result.rejections[0].error


def test_results_are_bounded():
    long = signal(
        external_id="x" * 1000,
        event_id="y" * 1000,
        title="t" * 1000,
        recommended_actions=("a",) * 100 + ("",),
        device_ids=(*(Identifier("hostname", f"h{n}") for n in range(100)), Identifier("", "")),
        facts={"f" * 500: "v" * 5000, "big": 2**70, "inf": float("inf"), "ok": 3, "none": None, "yes": True},
    )
    (got,) = normalize(long).signals
    assert len(got.external_id) < MAX_ID_CHARS + 40
    assert got.external_id != normalize(signal(external_id="x" * 1001)).signals[0].external_id
    assert len(got.title) == MAX_TITLE_CHARS
    assert len(got.recommended_actions) == MAX_ACTIONS
    assert len(got.device_ids) == 16
    assert [got.facts[name] for name in ("big", "inf", "ok", "none", "yes")] == [
        float(2**70),
        None,
        3,
        None,
        True,
    ]
    assert max(len(name) for name in got.facts) == 100
    msgspec.msgpack.encode(got)


def test_a_class_that_is_no_plugin_is_refused_at_load():
    entry = SimpleNamespace(name="x", load=lambda: lambda: SimpleNamespace(kind="x"))
    with pytest.raises(PluginFault, match="SensorV1"):
        Catalog.discover([entry])
