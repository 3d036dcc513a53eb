"""Videos and cameras: sources of frames, sinks for frames, and the overlay drawn on them."""
