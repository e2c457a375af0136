"""How good the lists are: the same chain, judged on treatments hidden from it."""
