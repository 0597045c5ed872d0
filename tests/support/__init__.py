"""Helpers that several tests share: files, servers, devices, models."""
