"""The lane on real brokers."""
