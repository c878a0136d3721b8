"""`grantledger-verify`: checks a log and what came out of it, without the broker.

For an auditor's own machine. It needs Python, `cryptography` and this package alone:
nothing else of the project is imported, so that a mistake there is not repeated here.
Whatever it reads may have been written by an attacker: every input has limits, and
what does not parse is a finding, never a crash.

It proves that bytes are what a signed checkpoint covers, that columns and tables
beside the log say what the log says, and that nothing is missing that the log does
not explain. It cannot open what is sealed: `grantledger verify` does that, with the
keys.
"""
