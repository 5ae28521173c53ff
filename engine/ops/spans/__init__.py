"""What a moving window holds: slices of rows, each folded once, and their state as a whole."""
