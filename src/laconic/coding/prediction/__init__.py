"""Predictive coding of pictures with up to 16 bits a sample and up to four channels."""
