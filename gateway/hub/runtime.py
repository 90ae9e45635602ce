"""What one configuration means while it is in force: immutable, built whole, swapped by one assignment."""

import msgspec

from compliance.model import AccessPolicy
from gateway.config.schema import App, Config, Network
from gateway.decision.context import Interpretation
from gateway.decision.routing import NamedNetworks
from risk.model import SensorRules


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration in force. `policies` holds, by app name, the access policies that can apply to the app."""

    config: Config
    revision: str
    apps: dict[str, App]
    policies: dict[str, tuple[AccessPolicy, ...]]
    interpretation: Interpretation
    networks: NamedNetworks

    def app(self, name: str) -> App | None:
        """Return the app of this name, or None."""
        return self.apps.get(name)


def make_runtime(config: Config, revision: str) -> Runtime:
    """Return what `config` means. Everything was checked on load; nothing here can fail."""
    return Runtime(
        config=config,
        revision=revision,
        apps={app.name: app for app in config.apps},
        policies={app.name: _policies_of(app.name, config.access.policies) for app in config.apps},
        interpretation=Interpretation(
            sensors={
                sensor.name: SensorRules(
                    name=sensor.name,
                    max_silence_s=sensor.max_silence,
                    unknown_level=sensor.unknown_level,
                    trust=sensor.trust,
                )
                for sensor in config.sensors
            },
            policies=config.compliance.policies,
            uncovered=config.compliance.uncovered,
        ),
        networks=_networks(config.networks),
    )


def _policies_of(app: str, policies: tuple[AccessPolicy, ...]) -> tuple[AccessPolicy, ...]:
    return tuple(policy for policy in policies if not policy.apps or app in policy.apps)


def _networks(networks: tuple[Network, ...]) -> NamedNetworks:
    return NamedNetworks({network.name: network.cidrs for network in networks})
