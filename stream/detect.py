"""detect step."""
