"""Providers that the scenario file is played behind, a module each: `make(clock)` returns a `testing.stage.Behind`."""
