"""The coordinator: placement, stores, process."""
