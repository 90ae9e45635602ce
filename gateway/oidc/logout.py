"""RP-initiated logout (rules L1, L2, L4): where the browser goes, and whether its return is ours."""

import hmac

from authlib.common.urls import add_params_to_uri

from gateway.oidc.discovery import ProviderMetadata


def end_session_url(
    metadata: ProviderMetadata,
    *,
    client_id: str,
    id_token_hint: str | None,
    post_logout_redirect_uri: str,
    state: str,
) -> str | None:
    """Return the URL that ends the session at the provider, or None when the provider offers none (L4)."""
    if metadata.end_session_endpoint is None:
        return None
    parameters = [
        ("client_id", client_id),
        ("post_logout_redirect_uri", post_logout_redirect_uri),
        ("state", state),
    ]
    if id_token_hint is not None:
        parameters.insert(0, ("id_token_hint", id_token_hint))
    url: str = add_params_to_uri(metadata.end_session_endpoint, parameters)
    return url


def is_our_return(untrusted_state: str | None, sent_state: str | None) -> bool:
    """Return whether a return answers our request: the states are equal, or none was sent (L2)."""
    if sent_state is None or untrusted_state is None:
        return sent_state is None and untrusted_state is None
    return hmac.compare_digest(untrusted_state.encode("utf-8", "replace"), sent_state.encode())
