"""The families of the rate-distortion laboratory."""
