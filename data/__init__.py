"""Tables written for this project, and the generator of the synthetic sample."""
