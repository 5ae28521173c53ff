"""Traces of single rows: which are taken, their spans, where these are kept and sent to.

OpenTelemetry comes with the extra ``tracing`` and is imported when the first row is traced.
"""
