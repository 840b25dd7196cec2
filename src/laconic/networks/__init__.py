"""Networks: the layers that models are made of."""
