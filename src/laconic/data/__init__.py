"""Files to tensors: image folders and training patches."""
