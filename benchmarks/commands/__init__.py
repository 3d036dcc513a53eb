"""The commands, one a file with its options and its action; main.py is the command line."""
