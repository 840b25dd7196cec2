"""Codecs times folders: results, curves, classical anchors, figures and reports."""
