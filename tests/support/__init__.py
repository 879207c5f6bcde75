"""Small things that many tests need; each module here has one duty."""
