"""What train.py and eval.py are given: types, defaults, checks, each group's options, what may change on resume."""
