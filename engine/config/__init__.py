"""Rule files: text with positions, expanded, checked and turned into definitions."""
