"""Modules shared by several methods. Nothing here imports a method."""
