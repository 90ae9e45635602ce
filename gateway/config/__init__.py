"""gateway.config."""
