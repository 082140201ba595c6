"""What people type: one module a group of commands, each thin over the modules that do the work."""
