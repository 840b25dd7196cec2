"""What every report is made of: pages, charts, figures, provenance."""
