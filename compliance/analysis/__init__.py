"""What access policies mean for every request there can ever be: proofs, counterexamples and findings. Pure.

`inputs` and `domains` cut every input into the few values that some condition can tell apart (each kind of condition
says which: see `compliance.conditions`), `clauses` says for which of them a policy matches, `solver` searches, and
`questions` asks: can anybody be let in who must not be, can a policy ever match, whom does one set let in and another
not. What is found is a `Given`, which the evaluator itself can decide.
"""
