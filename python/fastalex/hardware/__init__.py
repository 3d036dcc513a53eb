"""Data on devices: the device files, tuning rules as text, and the roofline."""
