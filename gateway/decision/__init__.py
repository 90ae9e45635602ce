"""gateway.decision."""
