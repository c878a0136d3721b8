"""Every published form of what is stored, kept for ever: see `add`."""
