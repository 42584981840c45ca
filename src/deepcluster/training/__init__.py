"""The training loop: schedule -> reassign (the conductor) -> module. Start at reassign.py."""
