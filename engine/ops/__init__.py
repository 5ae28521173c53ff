"""Stateful operators of a query: pure and synchronous, given rows and time, never asking for it."""
