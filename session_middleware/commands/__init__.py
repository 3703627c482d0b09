"""What the command line does, one file a command; `__main__.py` reads the arguments."""
