"""`fastnas report`: one page about searches."""
