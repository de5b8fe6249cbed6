"""Telling people outside what became of alerts."""
