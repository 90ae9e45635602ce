"""gateway.hub."""
