"""Labels as a message to a receiver who has the inputs: two-part, Bayesian, prequential codes."""
