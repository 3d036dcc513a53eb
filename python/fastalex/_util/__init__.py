"""Helpers that know nothing of networks: console output, files, the cache folder, checks of arguments."""
