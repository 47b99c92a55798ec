"""What several methods share. Nothing here imports a method."""
