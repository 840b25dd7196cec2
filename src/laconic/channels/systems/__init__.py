"""Systems that communicate pictures over noisy channels; each is given its networks."""
