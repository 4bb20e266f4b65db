"""Trains networks of a search fully, to check whether its rewards rank them."""
