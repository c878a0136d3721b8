"""Kill real broker processes at every named point, and look at what is left.

    python -m tests.crash --kills 1200 --seed 7

`points` names the points, `child` is the process that is killed, `field` where it
lives (ledger, servers), `rounds` kills and recovers, `verdict` compares the ledger
with what the servers know, `report` prints the table.
"""
