"""The ``goldcopy`` command line: rendered from the commands' dataclasses; it parses and prints, and decides nothing."""
