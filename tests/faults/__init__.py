"""The checker: clients, sensors and faults against the real gateway, and a judge of what happened.

    python -m tests.faults --seed 7 --seconds 60

prints the seed, what was done to the gateway, what was seen, and every violation; exit code 1 when there is one. The
seed repeats the choices (who raises which risk, which fault, when); the machine's own timing is its own.
"""
