"""The built-in SQL functions, one module for each category of the reference."""
