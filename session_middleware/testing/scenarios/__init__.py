"""The scenarios of AdapterContract, a file for each theme; every one names the rules it holds the adapter to."""
