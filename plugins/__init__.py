"""Sensor adapters: verify the sender, turn its payload into signals."""
