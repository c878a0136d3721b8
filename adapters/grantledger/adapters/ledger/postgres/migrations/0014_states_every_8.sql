-- A state is kept every 8 versions, not every 64: a grant as it was is one row and at
-- most seven events.
DROP TRIGGER grant_states_kept ON current_grants;
CREATE TRIGGER grant_states_kept AFTER UPDATE ON current_grants FOR EACH ROW
    WHEN (NEW.version / 8 > OLD.version / 8 AND NEW.status <> 'erased')
    EXECUTE FUNCTION ledger_keep_state();
