"""DECIDES: the rules of a session, pure; no I/O, clock, randomness, framework or async in here."""
