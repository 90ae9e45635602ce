"""Checks that no single value can fail: names that refer to each other, addresses, unsafe combinations.

One function per section, in `gateway.config.checks`. Each sees only sections that could be decoded, and reports
nothing about a value that is already at fault, so that one mistake gives one fault.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from compliance.model import (
    AccessPolicy,
    ClaimCondition,
    CompliancePolicy,
    Conditions,
    DeviceAssignment,
    EscalationStep,
    FactCondition,
    FactRule,
    FactStateCondition,
    FindingCondition,
    FindingRule,
    RiskRule,
    SensorCondition,
    SensorRule,
    TimeWindow,
)
from compliance.policy_tests import Given, Never, PolicyTest
from gateway.config.authzen import AuthZen
from gateway.config.certificates import ClientCertificate
from gateway.config.checks import (
    access,
    apps,
    authzen,
    canary,
    certificates,
    compliance,
    devices,
    locations,
    profiles,
    proofs,
    providers,
    remediation,
    sensors,
    server,
    shared_signals,
    weighing,
    whole,
)
from gateway.config.checks.shared import Checks
from gateway.config.decode import Decoder
from gateway.config.deliveries import Deliveries
from gateway.config.errors import KeyPath
from gateway.config.locations import Network
from gateway.config.profiles import SessionProfile
from gateway.config.remediation import (
    Approval,
    KeptForms,
    PageSettings,
    Remediation,
    Sla,
    Snooze,
    Tasks,
    TaskTarget,
)
from gateway.config.schema import (
    App,
    Basic,
    Bearer,
    Canary,
    Certificate,
    Compliance,
    Decisions,
    DeviceCertificate,
    DeviceClaim,
    HealthCheck,
    Hmac,
    Limits,
    Provider,
    Sensor,
    Server,
    Sessions,
    StandardWebhooks,
    Store,
    Timeouts,
    Tls,
)
from gateway.config.shared_signals import SignalClient, SignalReceiver, SignalSubscriber, SignalTransmitter
from gateway.config.weighing import Risk
from risk.correlation import Correlation, Decay
from risk.subjects import Subjects


def validate(decoder: Decoder, now: datetime) -> None:
    """Report to the decoder every fault between the sections that it decoded, and what is over by `now`."""
    checks = Checks(decoder, now)
    for path, section in list(decoder.sections):
        check = _BY_SECTION.get(type(section))
        if check is not None:
            check(checks, path, section)
    whole.check_whole(checks)
    locations.check_locations(checks)


_Check = Callable[[Checks, KeyPath, Any], None]

_BY_SECTION: Mapping[type, _Check] = {
    Server: server.check_server,
    Limits: server.check_limits,
    Tls: server.check_tls,
    Certificate: server.check_certificate,
    Store: server.check_store,
    Provider: providers.check_provider,
    App: apps.check_app,
    HealthCheck: apps.check_health,
    Timeouts: apps.check_timeouts,
    Sensor: sensors.check_sensor,
    Subjects: weighing.check_subjects,
    Risk: weighing.check_risk,
    Correlation: weighing.check_correlation,
    Decay: weighing.check_decay,
    StandardWebhooks: sensors.check_standard_webhooks,
    ClientCertificate: certificates.check_client_certificate,
    Bearer: sensors.check_bearer,
    Basic: sensors.check_basic,
    Hmac: sensors.check_hmac,
    DeviceClaim: devices.check_device_claim,
    DeviceCertificate: devices.check_device_certificate,
    Network: locations.check_network,
    Sessions: server.check_sessions,
    Decisions: server.check_decisions,
    Deliveries: server.check_deliveries,
    AuthZen: authzen.check_authzen,
    Canary: canary.check_canary,
    Remediation: remediation.check_remediation,
    KeptForms: remediation.check_kept_forms,
    Tasks: remediation.check_tasks,
    Sla: remediation.check_sla,
    TaskTarget: remediation.check_target,
    Snooze: remediation.check_snooze,
    Approval: remediation.check_approval,
    PageSettings: remediation.check_pages,
    SignalReceiver: shared_signals.check_receiver,
    SignalClient: shared_signals.check_client,
    SignalTransmitter: shared_signals.check_transmitter,
    SignalSubscriber: shared_signals.check_subscriber,
    Compliance: compliance.check_compliance,
    CompliancePolicy: compliance.check_compliance_policy,
    DeviceAssignment: compliance.check_device_assignment,
    RiskRule: compliance.check_risk_rule,
    FactRule: compliance.check_fact_rule,
    SensorRule: compliance.check_sensor_rule,
    FindingRule: compliance.check_finding_rule,
    EscalationStep: compliance.check_escalation_step,
    SessionProfile: profiles.check_session_profile,
    AccessPolicy: access.check_access_policy,
    Conditions: access.check_conditions,
    FindingCondition: access.check_finding_condition,
    FactCondition: access.check_fact_condition,
    FactStateCondition: access.check_fact_state_condition,
    SensorCondition: access.check_sensor_condition,
    TimeWindow: access.check_time_window,
    ClaimCondition: access.check_claim_condition,
    PolicyTest: proofs.check_policy_test,
    Given: proofs.check_given,
    Never: proofs.check_never,
}
