"""Headrace: sources, streaming SQL and sinks in one asyncio process."""

__version__ = "0.1.0"
