"""flag step."""
