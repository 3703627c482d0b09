"""REMEMBER: what keeps the records; stores judge nothing."""
