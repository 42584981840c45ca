"""Between the user and the library: the command line, errors in one line, --help, and sweeps. Start: command_line.py."""
