"""How likely a condition is, or will be: a table of plain features in, a calibrated, explained risk out."""
