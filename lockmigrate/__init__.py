"""lockmigrate: keep what a smart lock knows, and move it to its replacement."""
