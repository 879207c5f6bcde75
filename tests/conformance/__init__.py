"""One suite over every carrier: what the rest of Trunkline may rely on, whoever carries it."""
