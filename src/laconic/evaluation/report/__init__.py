"""Parts of reports: pages, charts, figures, provenance."""
