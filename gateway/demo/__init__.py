"""gateway.demo."""
