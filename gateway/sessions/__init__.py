"""Sessions: opaque cookies, one per host, hashed at rest; tokens sealed; everything looked up in memory."""
