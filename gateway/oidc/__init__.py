"""The OpenID Connect relying party.

Everything here is sans-io (no await, clock or randomness) but `io` and `jwks`.

Rules are numbered as in the checklist of the relying party: D discovery, A authorization request, C callback,
T token request, V ID token, K keys, U user information, L logout. authlib brings the protocol pieces (PKCE,
grant URIs, token requests, half hashes), PyJWT verifies signatures and registered claims, `tokens` adds the
second layer.
"""
