"""What is minimised: objectives by their name."""
