"""gateway.proxy."""
