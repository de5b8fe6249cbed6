"""Certificates of an installation, and how nodes come to theirs."""
