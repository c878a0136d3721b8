-- Erasures that were cut short are looked for again and again.
CREATE INDEX current_grants_erased ON current_grants (grant_id) WHERE status = 'erased';
