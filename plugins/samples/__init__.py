"""Sample payloads of the built-in kinds, written by us on documented fields, and what they become."""
