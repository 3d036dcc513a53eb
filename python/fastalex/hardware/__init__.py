"""What is known of devices: the device files, the rules of tuning as text, the roofline."""
