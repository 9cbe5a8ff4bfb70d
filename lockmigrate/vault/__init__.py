"""What outlives a session: keys, trust, and the catalogue of backups."""
