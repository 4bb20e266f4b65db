"""`fastnas report`: statistics and plots of searches on one page."""
