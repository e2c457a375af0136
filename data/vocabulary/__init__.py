"""The shipped vocabulary tables (CSV), read by `recommender.vocabulary`; README.md says where they come from."""
