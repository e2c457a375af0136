"""The shipped safety rules (CSV), read by `recommender.safety`; README.md says what they mean and where from."""
