"""Service tokens: how programs (git, CI jobs, scripts), which cannot sign in, say which service identity they are."""
