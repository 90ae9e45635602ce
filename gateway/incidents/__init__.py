"""Incidents: what happened to a device's access, measured from the sensor's observation until access was back."""
