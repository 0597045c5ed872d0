"""Vela's configuration files and what it prints."""
