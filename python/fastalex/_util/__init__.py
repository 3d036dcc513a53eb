"""Helpers that are not about networks: console output, files, the cache folder, checks of arguments."""
