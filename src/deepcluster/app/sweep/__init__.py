"""Many runs of one command: what is refused before the first, what is done already, the table at the end."""
