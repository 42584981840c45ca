"""Between the user and the library: the command line, errors in one line, --help, sweeps. Start: command_line.py."""
