"""`fastnas demo`: an application above the packages."""
