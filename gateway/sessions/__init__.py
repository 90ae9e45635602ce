"""gateway.sessions."""
