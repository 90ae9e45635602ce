"""What a provider, or a message in its name, can get wrong: one reason code for each."""

from enum import StrEnum


class ProviderReason(StrEnum):
    """Why the provider could not be used. Temporary ones are worth a retry by the person."""

    UNREACHABLE = "provider-unreachable"
    TLS = "provider-tls-failed"
    BAD_STATUS = "provider-bad-status"
    NOT_JSON = "provider-not-json"
    TOO_LARGE = "provider-answer-too-large"
    NO_METADATA = "provider-not-known-yet"
    ISSUER_MISMATCH = "metadata-issuer-mismatch"
    METADATA_INCOMPLETE = "metadata-incomplete"
    METADATA_BAD_URL = "metadata-bad-url"
    NO_COMMON_ALGORITHM = "metadata-no-common-algorithm"
    KEYS_MALFORMED = "keys-malformed"
    KEYS_UNAVAILABLE = "keys-unavailable"
    CODE_REFUSED = "code-refused"
    CLIENT_REFUSED = "client-refused"
    TOKEN_REQUEST_REFUSED = "token-request-refused"  # noqa: S105 - a reason code
    TOKEN_RESPONSE_MALFORMED = "token-response-malformed"  # noqa: S105 - a reason code
    USERINFO_MALFORMED = "userinfo-malformed"
    USERINFO_OTHER_SUBJECT = "userinfo-other-subject"


TEMPORARY: frozenset[ProviderReason] = frozenset(
    {
        ProviderReason.UNREACHABLE,
        ProviderReason.TLS,
        ProviderReason.BAD_STATUS,
        ProviderReason.NOT_JSON,
        ProviderReason.TOO_LARGE,
        ProviderReason.NO_METADATA,
        ProviderReason.ISSUER_MISMATCH,
        ProviderReason.METADATA_INCOMPLETE,
        ProviderReason.METADATA_BAD_URL,
        ProviderReason.NO_COMMON_ALGORITHM,
        ProviderReason.KEYS_MALFORMED,
        ProviderReason.KEYS_UNAVAILABLE,
    },
)
"""Reasons that the next attempt may not meet: the gateway keeps asking by itself."""


class ProviderFault(Exception):
    """The provider (or the way to it) is at fault. `detail` is for the log, never for a page."""

    def __init__(self, reason: ProviderReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail

    @property
    def is_temporary(self) -> bool:
        """Whether trying again later may help."""
        return self.reason in TEMPORARY


class TokenReason(StrEnum):
    """Why an ID token (rules V1 to V18) or a logout token (B1 to B7) was refused, one code per cause."""

    TOO_LARGE = "id-token-too-large"
    ENCRYPTED = "id-token-encrypted"
    MALFORMED = "id-token-malformed"
    NOT_JSON = "id-token-not-json"
    DUPLICATE_MEMBER = "id-token-duplicate-member"
    ALGORITHM = "id-token-algorithm-not-allowed"
    CRITICAL_HEADER = "id-token-critical-header"
    TYPE = "id-token-wrong-type"
    EVENTS = "id-token-has-events"
    KEY_ID_MALFORMED = "id-token-key-id-malformed"
    KEY_ID_REQUIRED = "id-token-key-id-required"
    UNKNOWN_KEY = "id-token-unknown-key"
    SIGNATURE = "id-token-bad-signature"
    ISSUER = "id-token-wrong-issuer"
    AUDIENCE = "id-token-wrong-audience"
    FOREIGN_AUDIENCE = "id-token-foreign-audience"
    AUTHORIZED_PARTY = "id-token-wrong-authorized-party"
    AUTHORIZED_PARTY_MISSING = "id-token-authorized-party-missing"
    EXPIRY_MALFORMED = "id-token-expiry-malformed"
    EXPIRED = "id-token-expired"
    NOT_BEFORE_MALFORMED = "id-token-not-before-malformed"
    NOT_YET_VALID = "id-token-not-yet-valid"
    ISSUED_AT_MALFORMED = "id-token-issued-at-malformed"
    ISSUED_IN_FUTURE = "id-token-issued-in-future"
    TOO_OLD = "id-token-too-old"
    LIFETIME = "id-token-lifetime-too-long"
    NONCE_MISSING = "id-token-nonce-missing"
    NONCE = "id-token-wrong-nonce"
    SUBJECT = "id-token-bad-subject"
    ACCESS_TOKEN_HASH = "id-token-wrong-at-hash"  # noqa: S105 - a reason code
    AUTH_TIME_MALFORMED = "id-token-auth-time-malformed"
    AUTH_TIME_MISSING = "id-token-auth-time-missing"
    AUTH_TOO_OLD = "id-token-authentication-too-old"
    ACR = "id-token-acr-not-met"
    LOGOUT_NO_EVENT = "logout-token-without-event"
    LOGOUT_NONCE = "logout-token-has-nonce"
    LOGOUT_NOBODY = "logout-token-names-nobody"
    LOGOUT_ID = "logout-token-bad-jti"
    LOGOUT_REPLAYED = "logout-token-replayed"


STEP_UP_UNMET: frozenset[TokenReason] = frozenset(
    {TokenReason.AUTH_TIME_MISSING, TokenReason.AUTH_TOO_OLD, TokenReason.ACR},
)
"""Refusals of a sound token that does not prove the stronger or fresher sign-in that was asked for."""


class TokenRefused(Exception):
    """An ID token failed one check. `detail` is for the log and never holds token text."""

    def __init__(self, reason: TokenReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class CallbackReason(StrEnum):
    """Why a callback was refused before any token was asked for."""

    TOO_LARGE = "callback-too-large"
    MALFORMED = "callback-malformed"
    REPEATED_PARAMETER = "callback-repeated-parameter"
    CODE_AND_ERROR = "callback-code-and-error"
    NEITHER_CODE_NOR_ERROR = "callback-without-code"
    STATE_MISSING = "callback-state-missing"
    STATE_UNKNOWN = "callback-state-unknown"
    STATE_USED = "callback-state-used"
    STATE_EXPIRED = "callback-state-expired"
    ISSUER_MISSING = "callback-issuer-missing"
    ISSUER_MISMATCH = "callback-issuer-mismatch"


class CallbackRefused(Exception):
    """An authorization response failed one check."""

    def __init__(self, reason: CallbackReason) -> None:
        super().__init__(str(reason))
        self.reason = reason
