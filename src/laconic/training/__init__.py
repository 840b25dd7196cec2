"""Objectives, schedules, checkpoints and the loop."""
