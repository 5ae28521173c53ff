"""State of operators and plugins: scoped in memory while a rule runs."""
