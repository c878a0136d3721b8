"""What somebody with the file can do to it, and what is to be said of it.

One case a paragraph: a statement, then `->` and a part of the finding. Leaves of the
written ledger: alice 0-3, bob 4-7, carol 8-11, dave 12-13, erin 14-17, hand-out 18,
denials 19 and 21 (both pruned), hand-out 20, bob revoked 22, carol revoked and
erased 23-25, Pruned 26, hand-out 27.
"""

from __future__ import annotations

LOG = """
UPDATE stored_events SET state = substr(state, 1, 99) || x'00' || substr(state, 101)
WHERE rowid = 10
-> leaf 9: differs from its hash

UPDATE stored_events SET state = CAST(state AS TEXT) WHERE rowid = 10
-> leaf 9: is stored as

UPDATE stored_events SET state = CAST(state || x'20' AS BLOB) WHERE rowid = 28
-> leaf 27: differs from its hash

UPDATE stored_events SET state = substr(state, 1, 300) WHERE rowid = 10
-> leaf 9: differs from its hash

UPDATE stored_events SET state = x'' WHERE rowid = 10
-> leaf 9: has no bytes, and is no journal leaf

UPDATE stored_events SET state = x'' WHERE rowid = 19
-> stored_events: 3 leaves have no bytes; the Pruned events say 2

UPDATE stored_events SET state = x'' WHERE rowid = 28
-> leaf 27: has no bytes, and no Pruned event covers it

UPDATE stored_events SET leaf_hash = zeroblob(32) WHERE rowid = 10
-> leaf 9: differs from its hash

UPDATE stored_events SET leaf_hash = zeroblob(31) WHERE rowid = 10
-> leaf 9: its leaf_hash is no hash

UPDATE stored_events SET leaf_hash = 'text' WHERE rowid = 10
-> leaf 9: its leaf_hash is no hash

UPDATE stored_events SET leaf_hash = zeroblob(32) WHERE rowid = 20
-> log_head: its hashes differ

DELETE FROM stored_events WHERE rowid = 10
-> leaf 9: missing

DELETE FROM stored_events WHERE rowid IN (10, 11, 12)
-> leaves 9 to 11: missing

DELETE FROM stored_events WHERE rowid = 28
-> leaf 27: missing

DELETE FROM stored_events
-> leaves 0 to 27: missing

UPDATE stored_events SET rowid = 99 WHERE rowid = 28
-> leaves 27 to 97: missing

UPDATE stored_events SET rowid = 900000000001 WHERE rowid = 28
-> leaves 1024 to 899999999999: missing

UPDATE stored_events SET rowid = -4 WHERE rowid = 28
-> leaf -5: there is no such leaf

INSERT INTO stored_events SELECT 29, originator_id, 9, topic, state, leaf_hash
FROM stored_events WHERE rowid = 1
-> leaf 28: its column originator_version is 9, its bytes say 1
"""

COLUMNS = """
UPDATE stored_events SET topic = 'x' WHERE rowid = 10
-> leaf 9: its column topic is 'x'

UPDATE stored_events SET topic = 'grantledger.user-grant.exchanged.v1' WHERE rowid = 23
-> leaf 22: its column topic is

UPDATE stored_events SET originator_version = 77 WHERE rowid = 10
-> leaf 9: its column originator_version is 77, its bytes say 2

UPDATE stored_events SET originator_id = 'x' WHERE rowid = 10
-> leaf 9: names no stream

UPDATE stored_events SET originator_id = x'00' WHERE rowid = 10
-> leaf 9: names no stream

UPDATE stored_events SET originator_id = '00000000000000000000000000000001'
WHERE rowid = 10
-> leaf 9: its column originator_id is
"""

TEXT = """
UPDATE stored_events SET topic = CAST(x'ff41' AS TEXT) WHERE rowid = 10
-> leaf 9: its column topic is

UPDATE sealed SET field = CAST(x'ff41' AS TEXT) WHERE leaf_index = 18
-> the leaf names no such part

UPDATE current_grants SET status = CAST(x'ff41' AS TEXT) WHERE status = 'revoked'
-> newest of them leaf 22, say 'revoked'
"""

HEAD = """
DELETE FROM log_head
-> log_head: there is none

UPDATE log_head SET next_index = 25
-> log_head: differs from the leaves: it names 25

UPDATE log_head SET next_index = 'many'
-> log_head: there is none

UPDATE log_head SET frontier = zeroblob(96)
-> log_head: its hashes differ
"""

SEALED = """
UPDATE sealed SET ct = zeroblob(40) WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'by': differs from the digest

UPDATE sealed SET ct = 'text' WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'by': differs from the digest

UPDATE sealed SET ct = (SELECT ct FROM sealed WHERE leaf_index = 6 AND field = 'by')
WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'by': differs from the digest

DELETE FROM sealed WHERE leaf_index = 5 AND field = 'by'
-> leaf 5: sealed 'by' is missing; no event says that grant

UPDATE sealed SET field = 'why' WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'why': the leaf names no such part

UPDATE sealed SET grant_id = '00' WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'by': names another grant or data key

UPDATE sealed SET dek_id = 'd-0' WHERE leaf_index = 5 AND field = 'by'
-> leaf 5, sealed 'by': names another grant or data key

UPDATE sealed SET entry = 3 WHERE leaf_index = 18
-> leaf 18, sealed 'private' of entry 3: the leaf names no such part

INSERT INTO sealed VALUES (5, -1, 'more', 'x', 'y', x'00')
-> leaf 5, sealed 'more': the leaf names no such part

INSERT INTO sealed VALUES (99, -1, 'by', 'x', 'y', x'00')
-> leaf 99: sealed has parts of it; it is not there

INSERT INTO sealed VALUES (-7, -1, 'by', 'x', 'y', x'00')
-> leaf -7: sealed has parts of it; it is not there

INSERT INTO sealed VALUES (19, 0, 'private', 'x', 'y', x'00')
-> leaf 19: sealed has 1 parts of it, and its bytes are gone

DELETE FROM data_keys WHERE grant_id =
(SELECT originator_id FROM stored_events WHERE rowid = 5)
-> leaf 4: its data key is missing
"""

GRANTS = """
DELETE FROM current_grants WHERE status = 'revoked'
-> there is no row; its newest event is leaf 22

UPDATE current_grants SET status = 'active' WHERE status = 'revoked'
-> its status is 'active'; its events, the newest of them leaf 22, say 'revoked'

UPDATE current_grants SET status = 'active' WHERE status = 'erased'
-> the newest of them leaf 25, say 'erased'

UPDATE current_grants SET status = 'active' WHERE status = 'refreshing'
-> the newest of them leaf 13, say 'refreshing'

UPDATE current_grants SET version = 4 WHERE status = 'revoked'
-> its version is 4; its events

UPDATE current_grants SET leaf_index = 7 WHERE status = 'revoked'
-> its leaf_index is 7; its events

UPDATE current_grants SET generation = 9 WHERE status = 'revoked'
-> its generation is 9; its events

UPDATE current_grants SET provider = 'other' WHERE status = 'revoked'
-> its provider is 'other'; its events

UPDATE current_grants SET grant_id = 'nobody' WHERE status = 'revoked'
-> current_grants nobody: no event speaks of this grant
"""


def cases(*texts: str) -> list[tuple[str, str]]:
    """Return (statement, part of the finding) of each paragraph."""
    found: list[tuple[str, str]] = []
    for paragraph in "\n\n".join(text.strip() for text in texts).split("\n\n"):
        statement, _, finding = paragraph.partition("\n-> ")
        found.append((statement.replace("\n", " "), finding))
    return found
