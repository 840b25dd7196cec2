"""The rate-distortion plane: points, claims, figures, reports."""
