"""Digital communication to compare with: source codecs behind 5G codes, and reports."""
