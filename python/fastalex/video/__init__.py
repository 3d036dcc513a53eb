"""Videos and cameras: where frames come from, where they go, and what is drawn on them."""
