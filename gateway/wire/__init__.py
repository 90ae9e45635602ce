"""HTTP/1.1 as bytes: strict parsing, one canonical path, header hygiene.

Pure: nothing here waits, logs, reads a clock, or knows of connections.
"""
