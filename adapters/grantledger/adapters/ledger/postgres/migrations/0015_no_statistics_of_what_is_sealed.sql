-- ANALYZE, which autovacuum runs by itself, keeps samples of each column for the planner,
-- in a table that no erasure reaches. Of what is sealed, of wrapped keys and of leaves it
-- keeps none from now on; TYPE, which changes nothing, drops those that it has kept.
ALTER TABLE data_keys ALTER COLUMN wrapped TYPE bytea;
ALTER TABLE data_keys ALTER COLUMN wrapped SET STATISTICS 0;
ALTER TABLE sealed ALTER COLUMN ct TYPE bytea;
ALTER TABLE sealed ALTER COLUMN ct SET STATISTICS 0;
ALTER TABLE current_grants ALTER COLUMN state TYPE bytea;
ALTER TABLE current_grants ALTER COLUMN state SET STATISTICS 0;
ALTER TABLE current_grants ALTER COLUMN subject_digest TYPE bytea;
ALTER TABLE current_grants ALTER COLUMN subject_digest SET STATISTICS 0;
ALTER TABLE grant_states ALTER COLUMN state TYPE bytea;
ALTER TABLE grant_states ALTER COLUMN state SET STATISTICS 0;
ALTER TABLE grant_states ALTER COLUMN subject_digest TYPE bytea;
ALTER TABLE grant_states ALTER COLUMN subject_digest SET STATISTICS 0;
ALTER TABLE provider_clients ALTER COLUMN sealed TYPE bytea;
ALTER TABLE provider_clients ALTER COLUMN sealed SET STATISTICS 0;
ALTER TABLE stored_events ALTER COLUMN state SET STATISTICS 0;
ALTER TABLE token_index ALTER COLUMN fingerprint TYPE text;
ALTER TABLE token_index ALTER COLUMN fingerprint SET STATISTICS 0;
ALTER TABLE audit_terms ALTER COLUMN term TYPE bytea;
ALTER TABLE audit_terms ALTER COLUMN term SET STATISTICS 0;
