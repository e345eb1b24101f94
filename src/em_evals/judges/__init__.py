"""Graders shared by families."""
