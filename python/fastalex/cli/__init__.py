"""The command line ``fastalex``. Each command has a module with its options and its action."""
