-- Which data keys are wrapped with a key that is to be retired.
CREATE INDEX data_keys_kek ON data_keys (kek_id);
