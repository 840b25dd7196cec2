"""The lossy image codec, and what a picture says beside its colours: alpha, profiles, metadata."""
