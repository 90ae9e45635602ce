"""What operators see: logs, metrics, the operations listener."""
