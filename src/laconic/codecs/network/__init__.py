"""The network codec: tensors of a safetensors file <-> a .lac file."""
