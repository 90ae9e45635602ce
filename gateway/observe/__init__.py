"""gateway.observe."""
