"""One call of the native engine: where it runs, in which precision, on whose arrays."""
