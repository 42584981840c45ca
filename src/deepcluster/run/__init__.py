"""One run, from settings to summary.json; one evaluation, to results.json. Start at train.py and evaluate.py."""
