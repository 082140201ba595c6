"""decide step."""
