"""The graph that a network is optimised and written as."""
