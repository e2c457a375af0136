"""The command line and the nightly run: a thin skin over `recommender`."""
