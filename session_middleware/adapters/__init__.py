"""TRANSLATE: one file per framework, from its request to facts and from our reply to its response."""
