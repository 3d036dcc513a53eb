"""The command ``fastalex``: one file a command, with its options and its action."""
