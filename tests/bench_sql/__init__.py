"""The history at size: an own Postgres is filled with millions of verdicts and measured."""
