"""One call of the native engine: its device, its precision, and the arrays and streams of any library."""
