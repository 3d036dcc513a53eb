"""Programs for developers of fastalex: ``python -m tools.NAME``, from the repository's root."""
