"""The methods that make weights probabilistic, one file each."""
