"""Mixed load on replicas that are killed, and three promises checked at its end.

    python -m benchmarks.soak [--minutes 15] [--store postgresql] [--replicas 3]
        [--rate 50] [--kill-every 60] [--json FILE] [--plot FILE] [--seed 1]

Several `grantledger serve` processes over one ledger; a rotating authorization server
whose access tokens live for seconds; callers that bring a JWT or a secret, and come at
a steady rate whatever the answers take; an operator who rotates, ends and renews
grants; an auditor who reads; a checkpoint fetched each second. One replica in turn is
ended by SIGKILL and started again; the first never is, so that what grows in it can be
seen.

It compares nothing: it fails where a promise does not hold.

1. No grant is lost silently: each is usable, with the refresh token that the server
   holds as the current one, or it says why not, with a cause that the server's own
   record bears out.
2. No token is left unrecorded: each answer has its entry in the log, and no hand-out
   stands behind its grant's end. The log is read leaf by leaf, outside of the broker.
3. History is whole: `grantledger verify` and `grantledger-verify` pass, and every
   checkpoint fetched is signed and a beginning of the log as it ended.

And nothing grows: resident memory and descriptors of the replica that is never killed,
in the last third of the run beside the middle third.
"""
