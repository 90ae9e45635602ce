"""Why a compliance rule has its state, and why a decision is what it is: closed enumerations."""

from enum import StrEnum


class ComplianceReason(StrEnum):
    """Why a rule has its state. Closed: pages and metrics name nothing else."""

    MET = "met"
    DEVICE_UNKNOWN = "device-unknown"
    NOT_COVERED = "not-covered"
    RISK_UNKNOWN = "risk-unknown"
    RISK_TOO_HIGH = "risk-too-high"
    SENSOR_SILENT = "sensor-silent"
    SENSOR_NEVER_HEARD = "sensor-never-heard"
    SENSOR_NOT_SEEN_LATELY = "sensor-not-seen-lately"
    FACT_NEVER_REPORTED = "fact-never-reported"
    FACT_EXPIRED = "fact-expired"
    FACT_TOO_OLD = "fact-too-old"
    FACT_TYPE_DIFFERS = "fact-type-differs"
    FACT_DIFFERS = "fact-differs"
    FACT_NOT_ACCEPTED = "fact-not-accepted"
    VERSION_TOO_LOW = "version-too-low"
    VERSION_TOO_HIGH = "version-too-high"
    NUMBER_OUT_OF_RANGE = "number-out-of-range"
    DATE_TOO_OLD = "date-too-old"
    VERSION_UNREADABLE = "version-unreadable"
    FINDING_OPEN = "finding-open"
    EXEMPTED = "exempted"
    RULE_UNUSABLE = "rule-unusable"


class AccessReason(StrEnum):
    """Why a decision is what it is. Closed: problem documents, records and metrics name nothing else."""

    LET_IN = "let-in"
    SIGN_IN_TOO_WEAK = "sign-in-too-weak"
    DEVICE_NOT_KNOWN = "device-not-known"
    DEVICE_AT_RISK = "device-at-risk"
    DEVICE_NOT_COMPLIANT = "device-not-compliant"
    DEVICE_NOT_ACCEPTED = "device-not-accepted"
    PERSON_AT_RISK = "person-at-risk"
    NOT_ASSIGNED = "not-assigned"
    PLACE_NOT_ACCEPTED = "place-not-accepted"
    TIME_NOT_ACCEPTED = "time-not-accepted"
    REQUEST_NOT_ACCEPTED = "request-not-accepted"
    NOT_AUTHORISED = "not-authorised"
