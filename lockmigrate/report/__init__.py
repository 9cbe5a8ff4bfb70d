"""What a customer reads: self-contained HTML pages, in English and Simplified Chinese."""
