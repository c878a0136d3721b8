-- How many grants of a provider stand where is counted in the index alone.
CREATE INDEX current_grants_status ON current_grants (provider, status);
