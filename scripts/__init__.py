"""Programs for working on Trunkline; not part of the package."""
