"""Between a person and the library: the command line, its errors, its manual, and sweeps. Start at command_line.py."""
