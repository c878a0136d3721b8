"""The whole schema as one file for psql: what `schema.migrate` does, and the roles.

For a database administrator who runs no program of ours. It may be run again, on an
older schema too: psql's conditions leave out what is there.
"""

from __future__ import annotations

from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import (
    ROLES,
    lock_name,
    migrations,
    newest_schema,
    script_for,
)

_HEAD = """\
-- grantledger: schema {schema} at version {newest}, and the roles of every ledger.
--
--   psql -X -f FILE postgresql://superuser@server/database
--
-- One transaction: after an error nothing has changed. It makes no login; see the
-- part about roles below.
\\set ON_ERROR_STOP on
\\set QUIET on
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(hashtextextended('{lock}', 0)) IS NULL AS locked \\gset
CREATE SCHEMA IF NOT EXISTS "{schema}";
SET LOCAL search_path = "{schema}", pg_temp;
SELECT to_regclass('meta') IS NOT NULL AS there \\gset
\\set version 0
\\if :there
SELECT coalesce(max(value::integer), 0) AS version FROM meta WHERE name = 'schema'
\\gset
\\endif
SELECT :version > {newest} AS newer \\gset
\\if :newer
DO $$ BEGIN RAISE 'this schema is of a newer version than {newest}'; END $$;
\\endif
"""

_STEP = """
SELECT :version < {number} AS missing \\gset
\\if :missing
{script}
INSERT INTO meta VALUES ('schema', '{number}')
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
\\endif
"""


def whole_script(schema: str) -> str:
    """Return the file for a schema of that name.

    Raises:
        ConfigurationError: no schema of a ledger can have that name.
    """
    Place("", schema)
    parts = [
        _HEAD.format(schema=schema, newest=newest_schema(), lock=lock_name(schema))
    ]
    parts += [
        _STEP.format(number=number, script=script_for(schema, script))
        for number, script in migrations()
    ]
    parts += ["\n", ROLES.read_text(encoding="utf-8"), "COMMIT;\n"]
    return "".join(parts)
