"""Where images come from: arrays, folders, tables, streams. Start at load.py."""
