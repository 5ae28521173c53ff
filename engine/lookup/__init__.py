"""Lookup tables: rows that are asked for by key while a query runs."""
