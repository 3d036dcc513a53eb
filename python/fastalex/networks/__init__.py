"""The networks of the family as data, and what follows from it; nothing here runs the engine."""
