"""`fastnas show`: a network as text, counts and drawings."""
