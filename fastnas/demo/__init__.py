"""`fastnas demo`: an application above the rooms."""
