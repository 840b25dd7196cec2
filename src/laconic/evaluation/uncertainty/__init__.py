"""Predictive uncertainty of finished runs: measures, figures, and one HTML page."""
