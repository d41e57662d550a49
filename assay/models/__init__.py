"""Policies and what they stand on: backbones, policies, samplers, and the words they write in."""
