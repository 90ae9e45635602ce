"""OpenID Shared Signals: what other systems tell the gateway, and what it tells them (SSF 1.0, CAEP 1.0, RISC 1.0).

Pure: `subjects`, `events`, `sets`, `filters`. They receive: `push`, `poll`, `streams`, `applying`. They transmit:
`emission`, `outbox`, `sending`, `management`. `hub` joins all of them to the hub.
"""
