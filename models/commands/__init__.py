"""The commands of `pixassay model`, one module each. `models.cli` registers them."""
