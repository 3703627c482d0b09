"""VOUCH: who is asked whether a session may live on."""
