"""The state of rotations, in a file of the room's own."""
