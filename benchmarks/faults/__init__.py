"""Faults of a store with a load of requests running: what users saw, and that no verdict was wrong."""
