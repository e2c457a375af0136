"""Conditions that a record suggests and its problem list lacks: the same matrix in, conditions to review out."""
