"""The asymmetric numeral system (ANS): the last bits written are the first read."""
