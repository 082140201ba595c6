"""The database schema, one numbered step a file. Run by `pixassay db upgrade`."""
