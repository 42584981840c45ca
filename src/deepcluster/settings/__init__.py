"""Settings of train.py and eval.py: types, checks, the options of each group, what a resumed run may change."""
