"""fetch step."""
