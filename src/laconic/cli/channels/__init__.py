"""Commands of channels: sweeps, transmit."""
