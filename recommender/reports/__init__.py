"""A published version in, what people read of it out: lists of patients, sums of few enough figures, a model card."""
