"""What one configuration means while it is in force: immutable, built whole, swapped by one assignment."""

from collections.abc import Mapping

import msgspec

from compliance.model import AccessPolicy, ComplianceRule
from gateway.canary.builtin import Builtin
from gateway.config.schema import App, Config, DeviceSource, Sensor
from gateway.config.shared_signals import SignalReceiver
from gateway.controls.effective import Profiles
from gateway.decision.judge import Interpretation
from gateway.decision.reauthentication import with_reauthentication
from gateway.decision.routing import NamedNetworks, is_below
from gateway.localised import ENGLISH, LocalisedTexts, localised_texts
from gateway.locations import named_networks
from gateway.sessions.model import host_name
from risk.builtin import RULES as BUILTIN_RULES
from risk.correlation import Weighing
from risk.model import RiskLevel, SensorRules


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration in force. `policies` holds, by app name, the access policies that can apply to the app.

    `places` says where access policies stand (`file:line`), by name. `builtin` is the canary, which no page, policy or
    report of the configuration knows of. `texts` are those of rules and policies in every language, `rules` the
    compliance rules by `policy/rule`.
    """

    config: Config
    revision: str
    apps: dict[str, App]
    policies: dict[str, tuple[AccessPolicy, ...]]
    interpretation: Interpretation
    networks: NamedNetworks
    profiles: Profiles = Profiles()
    builtin: Builtin | None = None
    places: dict[str, str] = {}
    texts: LocalisedTexts = LocalisedTexts()
    rules: dict[str, ComplianceRule] = {}

    def app(self, name: str) -> App | None:
        """Return the app of this name, or None."""
        if self.builtin is not None and name == self.builtin.app.name:
            return self.builtin.app
        return self.apps.get(name)

    def app_at(self, hostname: str, path: str) -> App | None:
        """Return the app of this host (without port) and path, else the first app of the host, None without any."""
        wildcard = "*." + hostname.partition(".")[2]
        apps = [app for app in self.apps.values() if app.host.lower() in (hostname, wildcard)]
        apps.sort(key=lambda app: (app.host.startswith("*."), -len(app.path_prefix)))
        return next((app for app in apps if is_below(path, app.path_prefix)), apps[0] if apps else None)

    def app_name_at(self, host: str, path: str) -> str:
        """Return the name of the app at a host (with or without port), "" outside every app."""
        found = self.app_at(host_name(host), path)
        return "" if found is None else found.name

    def host_of(self, app: str) -> str:
        """Return the host name of an app, "" for one that has several."""
        found = self.app(app)
        return "" if found is None else only_host(found)

    def policies_of(self, app: str) -> tuple[AccessPolicy, ...]:
        """Return the access policies that can apply to an app; the canary has one of its own and no other."""
        if self.builtin is not None and app == self.builtin.app.name:
            return (self.builtin.policy,)
        return self.policies[app]

    def interpretation_of(self, app: str) -> Interpretation:
        """Return how posture is interpreted for an app; the canary is held to no compliance policy."""
        if self.builtin is not None and app == self.builtin.app.name:
            rules = SensorRules(name=self.builtin.sensor.name)
            sensors = {**self.interpretation.sensors, rules.name: rules}
            return msgspec.structs.replace(self.interpretation, sensors=sensors, policies=())
        return self.interpretation

    @property
    def devices(self) -> tuple[DeviceSource, ...]:
        """Return how a request tells its device."""
        return self.config.devices if self.builtin is None else (*self.config.devices, self.builtin.source)

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """Return every sensor that may deliver."""
        return self.config.sensors if self.builtin is None else (*self.config.sensors, self.builtin.sensor)

    @property
    def fronts(self) -> Config:
        """Return the configuration with every host that is ours."""
        return self.config if self.builtin is None else msgspec.structs.replace(self.config, apps=self.served)

    @property
    def served(self) -> tuple[App, ...]:
        """Return every app that workers serve."""
        return self.config.apps if self.builtin is None else (*self.config.apps, self.builtin.app)


def make_runtime(
    config: Config,
    revision: str,
    builtin: Builtin | None = None,
    *,
    origins: Mapping[str, str] | None = None,
    translations: Mapping[str, Mapping[str, str]] | None = None,
    language: str = ENGLISH,
) -> Runtime:
    """Return what `config` means. Everything was checked on load; nothing here can fail.

    `origins` says where the values of the configuration stand, `translations` what texts are in other languages than
    the default `language`, both by paths, as `LoadedConfig` has them.
    """
    named = [(at, policy.name) for at, policy in enumerate(config.access.policies)]
    found = {name: (origins or {}).get(f"access.policies[{at}].name", "") for at, name in named}
    policies = with_reauthentication(config.access.policies, config.session_profiles)
    return Runtime(
        builtin=builtin,
        profiles=Profiles(config.session_profiles),
        texts=localised_texts(config, translations, language),
        rules={
            f"{policy.name}/{rule.name}": rule
            for policy in config.compliance.policies
            for rule in policy.rules
        },
        places={name: place for name, place in found.items() if place},
        config=config,
        revision=revision,
        apps={app.name: app for app in config.apps},
        policies={app.name: _policies_of(app.name, policies) for app in config.apps},
        interpretation=Interpretation(
            sensors=dict(BUILTIN_RULES)
            | {
                sensor.name: SensorRules(
                    name=sensor.name,
                    max_silence_s=sensor.max_silence,
                    unknown_level=sensor.unknown_level,
                    trust=sensor.trust,
                    max_level=RiskLevel(getattr(sensor, "max_level", RiskLevel.HIGH)),
                )
                for sensor in _told_by(config)
            },
            policies=config.compliance.policies,
            uncovered=config.compliance.uncovered,
            exemptions=config.compliance.exemptions,
            exemption_ceiling=config.compliance.exemption_ceiling,
            weighing=Weighing(config.risk.correlation, config.risk.decay),
        ),
        networks=named_networks(config.networks, config.country_database),
    )


def only_host(app: App) -> str:
    """Return the host name of an app, "" when it has a wildcard."""
    return "" if app.host.startswith("*.") else app.host.lower().rstrip(".")


def _told_by(config: Config) -> tuple[Sensor | SignalReceiver, ...]:
    """Return everything that tells of devices: sensors, and transmitters of Shared Signals."""
    return (*config.sensors, *config.shared_signals.receivers)


def _policies_of(app: str, policies: tuple[AccessPolicy, ...]) -> tuple[AccessPolicy, ...]:
    return tuple(policy for policy in policies if policy.covers(app))
