"""gateway.devices."""
