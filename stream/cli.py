"""The one console command, `pixassay`. Each sub-command lives in stream/commands/, imported when it is called."""
