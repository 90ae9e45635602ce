"""The built-in sensor kinds, found through the same entry points as anybody else's."""
