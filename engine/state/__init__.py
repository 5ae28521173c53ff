"""Durable state: what plugins remember, checkpoints of it, and what sinks couldn't deliver yet."""
