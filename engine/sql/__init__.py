"""Streaming SQL: text → syntax tree → plan → compiled Python over batches."""
