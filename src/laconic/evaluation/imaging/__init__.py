"""Volumes from files of particles: simulation, reconstruction, reports."""
