"""Why a compliance rule has its state: a closed enumeration."""

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
