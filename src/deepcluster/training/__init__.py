"""The loop: features -> schedule -> reassign (the conductor) -> module. Start at reassign.py."""
