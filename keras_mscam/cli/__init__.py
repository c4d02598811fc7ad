"""The commands: what each takes from its command line, and one call."""
