"""The service: Kafka uploads in, verdicts to Postgres, suspected synthetic images to a review topic."""
