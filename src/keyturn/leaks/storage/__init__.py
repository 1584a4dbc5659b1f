"""The state of incidents, in a file of the room's own."""
