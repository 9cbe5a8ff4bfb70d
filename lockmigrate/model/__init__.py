"""The neutral vocabulary: frozen values, validation, nothing else. Field names follow Matter's Door Lock cluster."""
