"""Schemas: files that describe the messages of formats such as protobuf."""
