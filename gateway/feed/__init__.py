"""gateway.feed."""
