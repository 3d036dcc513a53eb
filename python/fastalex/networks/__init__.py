"""The networks of the family as data, with their layers and exports; nothing here runs the engine."""
