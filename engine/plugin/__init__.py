"""Plugins: which files there are, what they export, whether they keep the contract."""
