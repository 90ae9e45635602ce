"""Products that ask us what we know of devices."""
