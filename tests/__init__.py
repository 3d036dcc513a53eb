"""The tests: a folder for each part of the package, and shared helpers in support/."""
