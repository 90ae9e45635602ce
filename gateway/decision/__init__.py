"""Between identity and enforcement: access contexts, tickets, assertions, decision records."""
