"""What is KNOWN: signals, findings, devices and posture, with their stores and intake."""
