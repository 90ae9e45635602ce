"""The canary: a built-in sensor, device, session and app through which the gateway measures its own exposure window."""
