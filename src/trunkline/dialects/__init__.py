"""Wire shapes that two carriers share. Carriers do not know each other; both know these."""
