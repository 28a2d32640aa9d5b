"""Counts with size factors."""
