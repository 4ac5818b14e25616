"""Nodes and their coordinator: views, identities, memberships."""
