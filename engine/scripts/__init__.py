"""Functions of SQL that are texts in another language: JavaScript."""
