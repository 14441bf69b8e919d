"""Durable objects: containers and images."""
