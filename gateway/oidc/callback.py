"""The authorization response (rules C1 to C4): parameters, issuer, and what each error code means."""

from urllib.parse import parse_qsl

import msgspec

from gateway.oidc.discovery import ProviderMetadata
from gateway.oidc.faults import CallbackReason, CallbackRefused

MAX_QUERY = 8192
MAX_PARAMETERS = 30
MAX_ERROR_TEXT = 200


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization response of sound form. Exactly one of `code` and `error` is there."""

    state: str
    code: str | None = None
    error: str | None = None
    error_description: str = ""
    issuer: str | None = None


class ErrorMeaning(msgspec.Struct, frozen=True):
    """What an error code of the provider becomes: status, title and text of the page."""

    status: int
    title: str
    text: str
    is_retry_useful: bool = True


_CONFIGURATION = (
    "The gateway and the sign-in service disagree about their settings. An administrator has to look."
)

_ERRORS: dict[str, ErrorMeaning] = {
    "access_denied": ErrorMeaning(
        403, "Sign-in was refused", "The sign-in service did not let you in, or you cancelled."
    ),
    "login_required": ErrorMeaning(
        401, "Sign-in is needed", "The sign-in service asks you to sign in again."
    ),
    "interaction_required": ErrorMeaning(
        401, "Sign-in is needed", "The sign-in service has a question for you."
    ),
    "consent_required": ErrorMeaning(
        403, "Consent is needed", "The sign-in service needs your consent first."
    ),
    "account_selection_required": ErrorMeaning(
        401,
        "Choose an account",
        "The sign-in service wants you to choose an account.",
    ),
    "invalid_request": ErrorMeaning(500, "Sign-in is misconfigured", _CONFIGURATION, is_retry_useful=False),
    "invalid_scope": ErrorMeaning(500, "Sign-in is misconfigured", _CONFIGURATION, is_retry_useful=False),
    "unauthorized_client": ErrorMeaning(
        500, "Sign-in is misconfigured", _CONFIGURATION, is_retry_useful=False
    ),
    "unsupported_response_type": ErrorMeaning(
        500, "Sign-in is misconfigured", _CONFIGURATION, is_retry_useful=False
    ),
    "server_error": ErrorMeaning(
        502, "The sign-in service failed", "It reported an error of its own. Try again."
    ),
    "temporarily_unavailable": ErrorMeaning(
        503,
        "The sign-in service is busy",
        "It cannot sign you in right now. Try again in a moment.",
    ),
    "unmet_authentication_requirements": ErrorMeaning(
        403,
        "A stronger sign-in is needed",
        "The sign-in service could not provide the sign-in that this app asks for.",
    ),
}

_UNKNOWN = ErrorMeaning(502, "Sign-in failed", "The sign-in service answered with an error. Try again.")


def parse_callback(query: str) -> Callback:
    """Return the response that a raw query string carries. Raises `CallbackRefused`; never anything else."""
    if len(query) > MAX_QUERY:
        raise CallbackRefused(CallbackReason.TOO_LARGE)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError as error:
        raise CallbackRefused(CallbackReason.MALFORMED) from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise CallbackRefused(CallbackReason.REPEATED_PARAMETER)
    if any(not value.isprintable() for name, value in parameters.items() if name != "error_description"):
        raise CallbackRefused(CallbackReason.MALFORMED)
    code, error_code = parameters.get("code") or None, parameters.get("error") or None
    if not parameters.get("state"):
        raise CallbackRefused(CallbackReason.STATE_MISSING)
    if "code" in parameters and "error" in parameters:
        raise CallbackRefused(CallbackReason.CODE_AND_ERROR)
    if code is None and error_code is None:
        raise CallbackRefused(CallbackReason.NEITHER_CODE_NOR_ERROR)
    return Callback(
        state=parameters["state"],
        code=code,
        error=error_code,
        error_description=parameters.get("error_description", "")[:MAX_ERROR_TEXT],
        issuer=parameters.get("iss"),
    )


def check_issuer(callback: Callback, metadata: ProviderMetadata) -> None:
    """Apply RFC 9207, on error responses too.

    Raises `CallbackRefused` for a wrong issuer, or one that is missing although the provider says that it
    sends it.
    """
    if callback.issuer is None:
        if metadata.is_issuer_in_response:
            raise CallbackRefused(CallbackReason.ISSUER_MISSING)
    elif callback.issuer != metadata.issuer:
        raise CallbackRefused(CallbackReason.ISSUER_MISMATCH)


def meaning_of_error(error: str) -> ErrorMeaning:
    """Return what the provider's error code means to the person; unknown codes share one meaning."""
    return _ERRORS.get(error, _UNKNOWN)
