"""Checks between and within the decoded sections, one file per kind of section."""
