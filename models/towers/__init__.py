"""Image towers: networks that turn pixels into an embedding, behind one interface (`base.Tower`)."""
