"""Restricted sessions: what the session controls of an access profile mean for requests and responses.

Pure logic, no I/O: profiles and their parameters, the effective controls of one session (several profiles add up,
the strictest of each parameter wins), and the judgement of requests and of response heads.
"""
