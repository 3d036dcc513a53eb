"""Programs for who works on fastalex: ``python -m tools.NAME``, from the repository's root."""
