"""Text and charts from records, for the terminal and for documents."""
