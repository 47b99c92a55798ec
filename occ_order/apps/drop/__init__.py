"""A page to drop a photograph on: masks from files or outlined by clicks, and their order."""
