"""Fuzzing of everything that reads what sensors send."""
