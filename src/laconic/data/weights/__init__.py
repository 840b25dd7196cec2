"""Files of weights: safetensors, shards of them, and what other kinds of files are."""
