"""gateway.oidc."""
