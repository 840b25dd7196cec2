"""What latent-variable models reach: rate, distortion, evidence, mutual information."""
